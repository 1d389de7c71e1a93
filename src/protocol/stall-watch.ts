import { RegistryError } from '../oci/errors.ts';

/** A body of which nothing arrives for this long (milliseconds) is given up; however slow, one that moves is not. */
export const STALL_LIMIT = 60_000;
const LOOK_EVERY = 5_000;

const watches = new Set<StallWatch>();
let timer: NodeJS.Timeout | undefined;

/**
 * Tells a stalled body from a slow one. The runtimes' own limits cut honest uploads (Bun's asks for some
 * 16 KB/s, Node's for an end within 300 s), so they are lifted for requests with a body and this one is used.
 * One timer serves all of them.
 */
export class StallWatch {
  readonly #controller = new AbortController();
  #last = Date.now();

  constructor() {
    watches.add(this);
    timer ??= setInterval(look, LOOK_EVERY).unref();
  }

  /** Aborts when the body has stalled; its reason is a `RegistryError`. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Something arrived. */
  progress(): void {
    this.#last = Date.now();
  }

  /** Must be called when the body has ended, however it did. */
  stop(): void {
    watches.delete(this);
  }

  /** Aborts at once, for another reason. */
  cut(error: RegistryError): void {
    this.stop();
    this.#controller.abort(error);
  }

  /** Aborts if nothing has arrived for too long. */
  check(now: number): void {
    if (now - this.#last < STALL_LIMIT) return;
    this.stop();
    this.#controller.abort(
      new RegistryError('BLOB_UPLOAD_INVALID', `nothing was received for ${STALL_LIMIT / 1000} seconds`, {
        status: 408,
        headers: { Connection: 'close' },
      }),
    );
  }
}

function look(): void {
  const now = Date.now();
  for (const watch of watches) watch.check(now);
  if (watches.size > 0) return;
  clearInterval(timer);
  timer = undefined;
}
