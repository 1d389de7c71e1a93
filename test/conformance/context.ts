import { randomBytes } from 'node:crypto';
import type { RequestOptions } from './client.ts';
import type { Client } from './client.ts';
import type { Exchange } from './exchange.ts';
import type { Level } from './scenario.ts';

/** What a test has to work with. */
export class Context {
  readonly client: Client;
  readonly level: Level;
  /** The repository of the suite's main tests. */
  readonly repository: string;
  /** The repository that blobs are mounted from. */
  readonly otherRepository: string;
  /** Differs from run to run, so that nothing that an earlier run left is met. */
  readonly run: string = randomBytes(4).toString('hex');

  constructor(options: { client: Client; level: Level; repository: string; otherRepository: string }) {
    this.client = options.client;
    this.level = options.level;
    this.repository = options.repository;
    this.otherRepository = options.otherRepository;
  }

  /** Whether the digest header is a duty: it is since the specification's main branch. */
  get digestRequired(): boolean {
    return this.level === 'dev';
  }

  /** A repository of this run that nothing else uses. */
  fresh(name: string): string {
    return `${this.repository}/${this.run}/${name}`;
  }

  send(method: string, target: string, options?: RequestOptions): Promise<Exchange> {
    return this.client.request(method, target, options);
  }

  get(target: string, headers: RequestOptions['headers'] = {}): Promise<Exchange> {
    return this.send('GET', target, { headers });
  }

  head(target: string, headers: RequestOptions['headers'] = {}): Promise<Exchange> {
    return this.send('HEAD', target, { headers });
  }

  delete(target: string): Promise<Exchange> {
    return this.send('DELETE', target, { headers: { 'Content-Length': '0' } });
  }
}

/** Paths of the API. Names and references go in as they are. */
export const path = {
  blob: (repository: string, digest: string): string => `/v2/${repository}/blobs/${digest}`,
  uploads: (repository: string): string => `/v2/${repository}/blobs/uploads/`,
  manifest: (repository: string, reference: string): string => `/v2/${repository}/manifests/${reference}`,
  tags: (repository: string): string => `/v2/${repository}/tags/list`,
  referrers: (repository: string, digest: string): string => `/v2/${repository}/referrers/${digest}`,
} as const;
