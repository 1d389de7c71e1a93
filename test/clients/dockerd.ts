import { writeFile } from 'node:fs/promises';
import { type Daemon, startDaemon } from '../harness/daemon.ts';
import { type Finished, requireTool, type RunOptions } from '../harness/tools.ts';
import type { ClientSandbox } from './client-sandbox.ts';

/** A docker daemon of the test's own, and the CLI that talks to it. */
export interface Dockerd {
  readonly daemon: Daemon;
  docker(args: readonly string[], options?: RunOptions): Promise<Finished>;
  stop(): Promise<void>;
}

/** Starts one. @throws Error that names the apt-get command when docker is missing */
export async function startDockerd(
  sandbox: ClientSandbox,
  name: string,
  config: Readonly<Record<string, unknown>> = {},
): Promise<Dockerd> {
  const folder = await sandbox.workspace.folder(name);
  const socket = `unix://${folder}/docker.sock`;
  await writeFile(`${folder}/daemon.json`, JSON.stringify(config));
  const env = { ...sandbox.env, DOCKER_HOST: socket, DOCKER_CONFIG: `${folder}/client` };
  const docker = async (args: readonly string[], options: RunOptions = {}) =>
    await sandbox.run('docker', args, { ...options, env: { ...env, ...options.env } });
  const place = ['--config-file', `${folder}/daemon.json`, '--data-root', `${folder}/data`];
  // Without a bridge and its rules the daemon leaves the machine's network as it was.
  const network = ['--bridge', 'none', '--iptables=false', '--ip6tables=false'];
  const daemon = await startDaemon(
    requireTool('dockerd'),
    [...place, '--exec-root', `${folder}/exec`, '--pidfile', `${folder}/pid`, '--host', socket, ...network],
    { env, ready: async () => (await docker(['version'], { mayFail: true })).code === 0 },
  );
  return {
    daemon,
    docker,
    stop: async () => {
      await daemon.stop();
      // The daemon leaves this mounted, and the folder could not be removed.
      await sandbox.run('umount', [`${folder}/exec/netns/default`], { mayFail: true });
    },
  };
}
