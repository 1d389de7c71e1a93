import type { Address } from './listener.ts';

/** What a worker is given to start with. */
export interface WorkerStart {
  /** Where to listen; a port of 0 is already resolved to the one that all workers share. */
  readonly address: Address;
  /** For `ListenOptions.reusePort`. */
  readonly reusePort: boolean;
  /** The supervisor's `startMessage`: plain JSON. */
  readonly message: unknown;
}

/**
 * Parent to worker; `start` in answer to `here`. (A worker is asked to end by SIGTERM, which also ends one that hangs in its
 * start.)
 */
export type ToWorker =
  | { readonly kind: 'start'; readonly start: WorkerStart }
  /** To be answered with its id. */
  | { readonly kind: 'question'; readonly id: number; readonly message: unknown }
  /** What another worker shared. */
  | { readonly kind: 'shared'; readonly message: unknown };

/** Worker to parent. */
export type FromWorker =
  /** It listens for messages. Node 20 loses those that come earlier. */
  | { readonly kind: 'here' }
  | { readonly kind: 'ready' }
  /** It cannot start, and another attempt would fail in the same way. `message` is for the operator. */
  | { readonly kind: 'failed'; readonly message: string }
  | { readonly kind: 'answer'; readonly id: number; readonly message: unknown }
  /** For all other workers: plain JSON. */
  | { readonly kind: 'shared'; readonly message: unknown };

/** Marks a process as a worker; its value is the worker's number, counted from 0. */
export const WORKER_VARIABLE = 'ENTREPOT_WORKER';
