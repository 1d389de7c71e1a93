/** A machine within this one: its own network with one address, and its own `/etc`, which no test may change for all. */
import { appendFile } from 'node:fs/promises';
import { type Daemon, startDaemon } from '../harness/daemon.ts';
import { requireTool, run } from '../harness/tools.ts';
import type { Workspace } from '../harness/workspace.ts';

/** What a copy is made of. Everything else is the host's. */
const PRIVATE = ['/etc', '/usr/local/share/ca-certificates'];

export interface Machine {
  /** Not one of 127.0.0.0/8, which docker would take for insecure by itself. */
  readonly address: string;
  /** What stands before a command that is to run there: an absolute path and arguments. */
  readonly enter: readonly [string, ...string[]];
  close(): Promise<void>;
}

/** Makes one, in which `name` is the name of its address. Needs root. */
export async function openMachine(workspace: Workspace, name: string): Promise<Machine> {
  const address = '10.77.0.1';
  const copies = await workspace.folder('machine');
  const mounts: string[] = [];
  for (const [index, path] of PRIVATE.entries()) {
    const copy = `${copies}/${index}`;
    await run('mkdir', ['-p', path]);
    await run('cp', ['-a', path, copy]);
    mounts.push(`mount --bind ${copy} ${path}`);
  }
  await appendFile(`${copies}/0/hosts`, `\n${address} ${name}\n`);
  const network = ['ip link set lo up', `ip addr add ${address}/32 dev lo`];
  const script = [...mounts, ...network, 'touch "$1"', 'exec sleep infinity'].join(' && ');
  const up = `${copies}/up`;
  const holder: Daemon = await startDaemon(
    requireTool('unshare'),
    ['--mount', '--net', 'sh', '-c', script, 'sh', up],
    { ready: async () => (await run('test', ['-e', up], { mayFail: true })).code === 0 },
  );
  return {
    address,
    enter: [requireTool('nsenter'), '--mount', '--net', '--target', String(holder.pid)],
    close: async () => await holder.kill9(),
  };
}
