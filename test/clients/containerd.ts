import { stat, writeFile } from 'node:fs/promises';
import { type Daemon, startDaemon } from '../harness/daemon.ts';
import { type Finished, requireTool } from '../harness/tools.ts';
import type { ClientSandbox } from './client-sandbox.ts';

/** A containerd of the test's own, with an empty content store. */
export interface Containerd {
  readonly daemon: Daemon;
  ctr(...args: string[]): Promise<Finished>;
}

/** Starts one. @throws Error that names the apt-get command when containerd is missing */
export async function startContainerd(sandbox: ClientSandbox, name: string): Promise<Containerd> {
  const folder = await sandbox.workspace.folder(name);
  const socket = `${folder}/containerd.sock`;
  const config = `${folder}/config.toml`;
  await writeFile(
    config,
    [
      'version = 2',
      `root = "${folder}/root"`,
      `state = "${folder}/state"`,
      'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
      '[grpc]',
      `  address = "${socket}"`,
      '[ttrpc]',
      `  address = "${socket}.ttrpc"`,
      '',
    ].join('\n'),
  );
  const daemon = await startDaemon(requireTool('containerd'), ['--config', config], {
    env: sandbox.env,
    ready: async () => (await stat(socket)).isSocket(),
  });
  return { daemon, ctr: async (...args) => await sandbox.run('ctr', ['--address', socket, ...args]) };
}
