/** Starts clients that ask one thing again and again. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { nodeBinary } from '../harness/node-binary.ts';
import type { Steady, SteadyResult } from './fixture/steady-clients.ts';

/** Starts clients in a process of their own. @returns what ends them, and tells how it went */
export async function startClients(load: Steady): Promise<() => Promise<SteadyResult>> {
  const program = join(import.meta.dirname, 'fixture/steady-clients.ts');
  const child = spawn(await nodeBinary(24), [program, JSON.stringify(load)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let told = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (told += text));
  const closed = once(child, 'close');
  return async () => {
    child.stdin.end();
    await closed;
    return JSON.parse(told) as SteadyResult;
  };
}
