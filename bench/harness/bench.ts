import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './command.ts';
import { makeCertificate } from './certificate.ts';
import type { Certificate } from './certificate.ts';
import type { Placement } from './contenders.ts';
import type { Scale } from './options.ts';
import type { Row } from './row.ts';
import { Server } from './server.ts';
import type { ServerPlan } from './server.ts';

/** What a measurement is given. Its servers end with it. */
export class Bench {
  readonly rounds: number;
  readonly scale: Scale;
  /** A folder of this measurement's own, on the disk that everything is measured on. Removed afterwards. */
  readonly folder: string;
  readonly #servers: Server[] = [];

  constructor(folder: string, rounds: number, scale: Scale) {
    this.folder = folder;
    this.rounds = rounds;
    this.scale = scale;
  }

  /** Starts a server and waits until it serves. @throws Error when it does not. */
  async start(plan: Promise<ServerPlan>): Promise<Server> {
    const server = await Server.start(await plan);
    this.#servers.push(server);
    return server;
  }

  /** Where a server with content folder `name` goes. */
  async place(name: string, certificate?: Certificate): Promise<Placement> {
    const state = join(this.folder, 'state');
    await mkdir(state, { recursive: true });
    const root = join(this.folder, name);
    await mkdir(root, { recursive: true });
    return { root, state, ...(certificate === undefined ? {} : { certificate }) };
  }

  /** A fresh certificate for 127.0.0.1. */
  certificate(): Promise<Certificate> {
    return makeCertificate(this.folder);
  }

  /** Waits until the disk has what was written, so that one sample's write-back does not slow the next one. */
  async settle(): Promise<void> {
    await run('sync', ['--file-system', this.folder]);
  }

  /** Ends the servers. */
  async close(): Promise<void> {
    await Promise.all(this.#servers.splice(0).map((server) => server.stop()));
  }
}

/** One file under `bench/measurements` gives one of these. */
export interface Measurement {
  /** What `--only` calls it. */
  readonly name: string;
  /** Takes the samples. @throws Error when they cannot be taken, or when an answer was wrong. */
  run(bench: Bench): Promise<Row[]>;
}
