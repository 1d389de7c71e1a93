import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Environment } from './command.ts';
import { request } from './http.ts';
import { cpuSeconds, memoryOf } from './process-tree.ts';
import type { ProcessMemory } from './process-tree.ts';

/** How to start one server. */
export interface ServerPlan {
  /** What the table calls it. */
  readonly name: string;
  readonly command: readonly [string, ...string[]];
  /** Without a slash at the end. */
  readonly origin: string;
  /** The folder that holds its content. */
  readonly root: string;
  /** Receives everything that it prints. */
  readonly logFile: string;
  /** A path that answers 200 once it serves. */
  readonly readyPath: string;
  /** The certificate (PEM) that an https origin is verified with. */
  readonly ca?: string;
  /** Added to the bench's own environment. */
  readonly environment?: Environment;
}

/** Every server that runs, so that none outlives the bench however that ends. */
const running = new Set<Server>();

/** A server process, with all its children. It leads its own process group. */
export class Server {
  readonly name: string;
  readonly origin: string;
  readonly root: string;
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #end: Promise<void>;

  private constructor(plan: ServerPlan, child: ChildProcess, pid: number) {
    this.name = plan.name;
    this.origin = plan.origin;
    this.root = plan.root;
    this.pid = pid;
    this.#child = child;
    this.#end = new Promise((resolve) => child.once('exit', () => resolve()));
  }

  /** Starts the process and returns at once; it does not serve yet. @throws Error when it cannot be spawned. */
  static async spawn(plan: ServerPlan): Promise<Server> {
    const log = openSync(plan.logFile, 'a');
    try {
      const [command, ...args] = plan.command;
      const child = spawn(command, args, {
        stdio: ['ignore', log, log],
        detached: true,
        env: { ...process.env, ...plan.environment },
      });
      const pid = await new Promise<number>((resolve, reject) => {
        child.once('error', reject);
        child.once('spawn', () => resolve(child.pid ?? 0));
      });
      const server = new Server(plan, child, pid);
      running.add(server);
      return server;
    } finally {
      closeSync(log);
    }
  }

  /** Starts the process and waits until it serves. @throws Error with the end of its log when it does not within 20 s. */
  static async start(plan: ServerPlan): Promise<Server> {
    const server = await Server.spawn(plan);
    const deadline = performance.now() + 20_000;
    while (!server.ended && performance.now() < deadline) {
      const answer = await request('GET', plan.origin + plan.readyPath, { ca: plan.ca }).catch(
        () => undefined,
      );
      if (answer?.status === 200) return server;
      await sleep(20);
    }
    await server.stop();
    const log = readFileSync(plan.logFile, 'utf8').trim().split('\n').slice(-5).join('\n');
    throw new Error(`${plan.name} does not serve (${plan.command.join(' ')}):\n${log}`);
  }

  /** Whether the process has ended by itself. */
  get ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** CPU time of the whole process tree so far, in seconds. */
  cpuSeconds(): number {
    return cpuSeconds(this.pid);
  }

  /** The process of the tree that has most memory. */
  largestProcess(): ProcessMemory {
    const [largest] = memoryOf(this.pid).sort((a, b) => b.resident - a.resident);
    if (largest === undefined) throw new Error(`${this.name} has ended while its memory was measured`);
    return largest;
  }

  /** Resident memory of the whole tree, in bytes. Pages that its processes share count once for each. */
  residentBytes(): number {
    return memoryOf(this.pid).reduce((sum, process) => sum + process.resident, 0);
  }

  /** Ends the tree: SIGTERM, and SIGKILL to what is left of it after 5 s. */
  async stop(): Promise<void> {
    if (!this.ended) this.#child.kill('SIGTERM');
    await Promise.race([this.#end, sleep(5000, undefined, { ref: false })]);
    this.kill();
    await this.#end;
  }

  /** Ends the process group at once. */
  kill(): void {
    running.delete(this);
    try {
      process.kill(-this.pid, 'SIGKILL');
    } catch {
      return; // nobody is left in it
    }
  }
}

/** Ends every server at once. For the end of the bench, whatever its reason; safe in an `exit` listener. */
export function killServers(): void {
  for (const server of running) server.kill();
}

/** A TCP port on 127.0.0.1 that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      probe.close(() => resolve(port));
    });
  });
}
