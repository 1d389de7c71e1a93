/** When an upstream is better left alone: it said so itself, or it does not answer. */
import { UpstreamFailure } from './upstream-failure.ts';

/** What an upstream limits apart: Docker Hub counts manifests, and its blobs come from elsewhere. */
export type Kind = 'manifests' | 'blobs';

/** Seconds of a 429 that does not say for how long. */
const USUAL_REST = 60;
/** The longest that an upstream is left alone for at one time, in seconds, whatever it says. */
const LONGEST_REST = 3_600;
/** Milliseconds after a first failure, doubled with each further one, in which what can do without it does. */
const FIRST_PAUSE = 1_000;
const LONGEST_PAUSE = 60_000;

/** That nothing of a kind is to be asked for a time; plain JSON. */
export interface Rest {
  readonly kind: Kind;
  /** Milliseconds since 1970. */
  readonly until: number;
  readonly status: number;
}

export class UpstreamHealth {
  readonly #now: () => number;
  readonly #onRest: (rest: Rest) => void;
  readonly #rest: Record<Kind, { readonly until: number; readonly status: number }> = {
    manifests: { until: 0, status: 429 },
    blobs: { until: 0, status: 429 },
  };
  #failures = 0;
  #pauseUntil = 0;

  /** @param onRest told when the upstream asks to be left alone, for other processes (`note`) */
  constructor(now: () => number = Date.now, onRest: (rest: Rest) => void = () => undefined) {
    this.#now = now;
    this.#onRest = onRest;
  }

  /** Why nothing of the kind is to be asked now: the upstream has said so. */
  rest(kind: Kind): UpstreamFailure | undefined {
    const { until, status } = this.#rest[kind];
    const left = until - this.#now();
    if (left <= 0) return undefined;
    const retryAfter = Math.ceil(left / 1000);
    return new UpstreamFailure(`it asked to be left alone for another ${retryAfter} s`, {
      status,
      retryAfter,
    });
  }

  /** Why who has something kept should rather serve that than ask now. */
  pause(kind: Kind): UpstreamFailure | undefined {
    const rest = this.rest(kind);
    if (rest !== undefined) return rest;
    const left = this.#pauseUntil - this.#now();
    if (left <= 0) return undefined;
    return new UpstreamFailure(`it did not answer a moment ago and is asked again in ${Math.ceil(left)} ms`);
  }

  /** Takes what another process was told. */
  note({ kind, until, status }: Rest): void {
    if (until > this.#rest[kind].until) this.#rest[kind] = { until, status };
  }

  /** An answer came, of whatever kind. */
  answered(): void {
    this.#failures = 0;
    this.#pauseUntil = 0;
  }

  failed(kind: Kind, { status, retryAfter }: UpstreamFailure): void {
    const now = this.#now();
    if (status === 429 || retryAfter !== undefined) {
      const seconds = Math.min(LONGEST_REST, retryAfter ?? USUAL_REST);
      const until = Math.max(this.#rest[kind].until, now + seconds * 1000);
      const rest: Rest = { kind, until, status: status ?? 503 };
      this.note(rest);
      this.#onRest(rest);
      return;
    }
    this.#failures += 1;
    this.#pauseUntil = now + Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** Math.min(20, this.#failures - 1));
  }
}
