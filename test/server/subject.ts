/** Starts the fixture server on each runtime, and ends it. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { nodeBinary } from '../harness/node-binary.ts';
import type { Settings } from './fixture/main.ts';

/** Where the same contract must hold. */
export const RUNTIMES = ['bun', 'node20', 'node24'] as const;
export type Runtime = (typeof RUNTIMES)[number];

/** One line that the fixture printed. */
export type Line = Readonly<Record<string, unknown>>;

export interface Subject {
  readonly pid: number;
  /** 0 for a unix socket. */
  readonly port: number;
  readonly lines: readonly Line[];
  readonly exited: Promise<{ code: number | null; signal: string | null }>;
  /** Waits for a line that `matches`, also one that came already. Rejects when the process ends without it. */
  line(matches: (line: Line) => boolean): Promise<Line>;
  kill(signal: NodeJS.Signals): void;
  url(path: string): string;
}

/** The fixture bundled for Node; made once a test process, removed at its end. */
let bundled: Promise<string> | undefined;
const running = new Set<ChildProcess>();
const folders = new Set<string>();

/** A folder under the system's temporary one, removed by `cleanUp`. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'entrepot-server-'));
  folders.add(folder);
  return folder;
}

/** Ends what is still running and removes the folders. For `afterAll`. */
export async function cleanUp(): Promise<void> {
  for (const child of running) child.kill('SIGKILL');
  await Promise.all([...folders].map((folder) => rm(folder, { recursive: true, force: true })));
  folders.clear();
  bundled = undefined;
}

/** Waits until so many requests of this path (`/slow` or `/stream`) have reached the handler since the start. */
export async function untilAsked(subject: Subject, path: string, times = 1): Promise<void> {
  await subject.line(() => subject.lines.filter(({ asked }) => asked === path).length >= times);
}

/** Ends one subject and waits until it is gone. */
export async function stop(subject: Subject): Promise<void> {
  subject.kill('SIGKILL');
  await subject.exited;
}

async function bundle(): Promise<string> {
  const outfile = join(await temporaryFolder(), 'fixture.mjs');
  const entry = join(import.meta.dirname, 'fixture/main.ts');
  const child = spawn(process.execPath, ['build', '--target=node', `--outfile=${outfile}`, entry], {
    stdio: 'ignore',
  });
  const code = await new Promise((resolve) => child.once('exit', resolve));
  if (code !== 0) throw new Error(`the fixture could not be bundled: bun build --target=node ${entry}`);
  return outfile;
}

async function command(runtime: Runtime): Promise<[string, string]> {
  if (runtime === 'bun') return [process.execPath, join(import.meta.dirname, 'fixture/main.ts')];
  bundled ??= bundle();
  return [await nodeBinary(runtime === 'node20' ? 20 : 24), await bundled];
}

/** Starts the fixture without waiting until it serves. `port` is 0 then. */
export async function launch(runtime: Runtime, settings: Partial<Settings> = {}): Promise<Subject> {
  const [path, program] = await command(runtime);
  const given: Settings = { address: { hostname: '127.0.0.1', port: 0 }, ...settings };
  const child = spawn(path, [program, JSON.stringify(given)], { stdio: ['ignore', 'pipe', 'inherit'] });
  running.add(child);
  const lines: Line[] = [];
  const waiting = new Set<() => void>();
  const exited = new Promise<{ code: number | null; signal: string | null }>((resolve) => {
    child.once('exit', (code, signal) => {
      running.delete(child);
      resolve({ code, signal });
    });
  });
  // Workers share the pipe, so that it may stay open longer than the parent lives.
  createInterface({ input: child.stdout }).on('line', (text) => {
    lines.push(JSON.parse(text) as Line);
    for (const look of waiting) look();
  });
  const pid = child.pid ?? 0;
  const line = (matches: (line: Line) => boolean): Promise<Line> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        const found = lines.find(matches);
        if (found === undefined) return;
        waiting.delete(look);
        resolve(found);
      };
      waiting.add(look);
      look();
      void exited.then(({ code, signal }) =>
        // What it printed last may arrive after its end.
        setTimeout(() => reject(new Error(`ended (${code ?? signal}) after ${JSON.stringify(lines)}`)), 200),
      );
    });
  return {
    pid,
    port: 0,
    lines,
    exited,
    line,
    kill: (signal) => void child.kill(signal),
    url: () => '',
  };
}

/** Starts the fixture and waits until it serves. */
export async function start(runtime: Runtime, settings: Partial<Settings> = {}): Promise<Subject> {
  const subject = await launch(runtime, settings);
  const { ready } = (await subject.line((line) => 'ready' in line)) as { ready: { port?: number } };
  const port = ready.port ?? 0;
  const scheme = settings.tls === undefined ? 'http' : 'https';
  return { ...subject, port, url: (path) => `${scheme}://127.0.0.1:${port}${path}` };
}
