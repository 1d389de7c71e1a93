import type { Address } from './listener.ts';

/** What a worker is given to start with. */
export interface WorkerStart {
  /** Where to listen; a port of 0 is already resolved to the one that all workers share. */
  readonly address: Address;
  /** For `ListenOptions.reusePort`. */
  readonly reusePort: boolean;
  /** The supervisor's `startMessage` of this moment: plain JSON. */
  readonly message: unknown;
}

/** Goes with a socket that a worker listens on, for the one that takes its place. */
interface LentSocket {
  readonly kind: 'socket';
  /** Which one, of a worker that has several. */
  readonly name: string;
}

/**
 * Parent to worker; `start` in answer to `here`. (A worker is asked to end by SIGTERM, which also ends one that hangs in its
 * start.)
 */
export type ToWorker =
  | { readonly kind: 'start'; readonly start: WorkerStart }
  /** Comes with a socket, before `start`. */
  | LentSocket
  /** To be answered by `socket` for each socket, then by `lent`. */
  | { readonly kind: 'lend' }
  /** Another one serves in its place: it leaves the port to that one, and ends. */
  | { readonly kind: 'replaced' }
  /** To be answered with its id. */
  | { readonly kind: 'question'; readonly id: number; readonly message: unknown }
  /** Another `WorkerStart.message` than it was started with. */
  | { readonly kind: 'renewed'; readonly message: unknown }
  /** What another worker shared. */
  | { readonly kind: 'shared'; readonly message: unknown };

/** Worker to parent. */
export type FromWorker =
  /** It listens for messages. Node 20 loses those that come earlier. */
  | { readonly kind: 'here' }
  | { readonly kind: 'ready' }
  | LentSocket
  | { readonly kind: 'lent' }
  /** It cannot start, and another attempt would fail in the same way. `message` is for the operator. */
  | { readonly kind: 'failed'; readonly message: string }
  | { readonly kind: 'answer'; readonly id: number; readonly message: unknown }
  /** For all other workers: plain JSON. */
  | { readonly kind: 'shared'; readonly message: unknown };

/** Marks a process as a worker; its value is the worker's number, counted from 0. */
export const WORKER_VARIABLE = 'ENTREPOT_WORKER';
