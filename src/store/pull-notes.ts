/**
 * When what was pulled last, for rules that ask for it. Notes are coarse and cost no pull anything: one is written at most
 * once an hour for each manifest and process, some time after the pull. What is lost in a crash makes nothing go early, as
 * long as one of the pulls of some hours is noted.
 *
 *     docker/registry/v2/_entrepot/pulls/
 *       since                              empty; its time is since when all pulls are noted
 *       alive                              empty; its time is when it was last seen that pulls are noted
 *       <name>/_manifests/<alg>-<hex>      empty; its time is when the manifest was last pulled
 */
import type { Digest } from '../oci/digest.ts';
import type { RepositoryName } from '../oci/name.ts';
import { Recent } from '../recent.ts';
import { isFuture } from '../silence.ts';
import { pullNoteKey, PULLS } from './layout.ts';
import type { Objects } from './objects.ts';

/** A pull so shortly after a noted one (milliseconds) is not noted. */
export const PULL_GRAIN = 3600_000;
/** Notes that this process remembers having taken, and that wait to be written. */
const MOST = 100_000;
const MOST_WAITING = 10_000;
/** Milliseconds for which notes may be gathered. */
const WRITE_EVERY = 1_000;
/** After so many milliseconds in which nobody was there to note pulls, they count as unknown before. */
const UNNOTED = 24 * 3600_000;

const SINCE = `${PULLS}since`;
const ALIVE = `${PULLS}alive`;

export class PullNotes {
  readonly #objects: Objects;
  readonly #mayWrite: () => boolean;
  readonly #noted = new Recent<number>({ most: MOST });
  readonly #waiting = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  readonly #heartbeat: NodeJS.Timeout;
  #beating: Promise<void>;

  /** @param mayWrite whether the storage may be written to at the moment */
  constructor(objects: Objects, mayWrite: () => boolean) {
    this.#objects = objects;
    this.#mayWrite = mayWrite;
    const beat = () => (this.#beating = this.#beat().catch(() => undefined));
    this.#heartbeat = setInterval(() => void beat(), PULL_GRAIN).unref();
    this.#beating = beat();
  }

  /** Notes a pull, some time later. Never throws, never waits. */
  note(name: RepositoryName, digest: Digest): void {
    const key = pullNoteKey(name, digest);
    const now = Date.now();
    // Also where the clock was set back since.
    if (Math.abs(now - (this.#noted.get(key) ?? 0)) < PULL_GRAIN) return;
    if (this.#waiting.size >= MOST_WAITING || !this.#mayWrite()) return;
    this.#noted.set(key, now);
    this.#waiting.add(key);
    this.#timer ??= setTimeout(() => void this.write(), WRITE_EVERY).unref();
  }

  /** Writes what waits. What cannot be written is noted with a later pull. */
  async write(): Promise<void> {
    this.#timer = undefined;
    await this.#beating;
    for (const key of this.#waiting) {
      this.#waiting.delete(key);
      try {
        const last = (await this.#objects.info(key))?.modified ?? 0;
        // One of the future was noted by a clock that was wrong, and would keep the manifest until then.
        if (Math.abs(Date.now() - last) >= PULL_GRAIN / 2)
          await this.#objects.driver.write(key, new Uint8Array(), { volatile: true });
      } catch {
        this.#noted.delete(key);
      }
    }
  }

  /** Ends it; what waits is not written. */
  stop(): void {
    clearInterval(this.#heartbeat);
    clearTimeout(this.#timer);
  }

  async #beat(): Promise<void> {
    if (!this.#mayWrite()) return;
    const alive = (await this.#objects.info(ALIVE))?.modified;
    const since = (await this.#objects.info(SINCE))?.modified;
    const now = Date.now();
    // A begin in the future, which a clock that was wrong has given it, would keep everything until then.
    const isKnown = since !== undefined && !isFuture(since, now);
    if (!isKnown || alive === undefined || now - alive > UNNOTED)
      await this.#objects.driver.write(SINCE, new Uint8Array());
    await this.#objects.driver.write(ALIVE, new Uint8Array(), { volatile: true });
  }
}

/** Since when pulls are noted, in milliseconds since 1970; undefined while they are not. */
export async function pullsNotedSince(objects: Objects): Promise<number | undefined> {
  return (await objects.info(SINCE))?.modified;
}

/** When a manifest was last pulled, in milliseconds since 1970, give or take `PULL_GRAIN`; undefined where none is noted. */
export async function lastPull(
  objects: Objects,
  name: RepositoryName,
  digest: Digest,
): Promise<number | undefined> {
  return (await objects.info(pullNoteKey(name, digest)))?.modified;
}
