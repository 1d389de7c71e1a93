import type { ChildProcess } from 'node:child_process';

/**
 * Starts this same program again, with the same arguments and output, and a channel for messages. `variables` are added
 * to its environment: by one of them it knows what it is.
 */
export async function spawnSelf(variables: Readonly<Record<string, string>>): Promise<ChildProcess> {
  const { spawn } = await import('node:child_process');
  // In the single executable argv[1] is a path inside of it, which it does not want to be given back.
  const inside = process.argv[1]?.startsWith('/$bunfs/') === true;
  const args = inside ? process.argv.slice(2) : [...process.execArgv, ...process.argv.slice(1)];
  return spawn(process.execPath, args, {
    env: { ...process.env, ...variables },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
}
