/** How far a run of the collector came, so that the next one goes on from there. */
import { isFull } from '../drivers/driver.ts';
import { COLLECTOR } from '../store/layout.ts';
import type { Objects } from '../store/objects.ts';
import { DigestSet } from './digest-set.ts';

/** Milliseconds between two notes. */
const SAVE_EVERY = 60_000;
/** A run that was left longer ago (milliseconds) begins anew: what it saw has changed too much to be worth going on. */
const GOOD_FOR = 24 * 60 * 60_000;

const NOTE = `${COLLECTOR}progress`;
const SET = `${COLLECTOR}linked`;

type Phase = 'repositories' | 'blobs';

interface Note {
  readonly phase: Phase;
  readonly last: string;
  /** Bytes of the set that belongs to it. */
  readonly size: number;
}

/**
 * The phase of a run, the last thing done in it, and the bytes that have a link. That others have linked to more since does no
 * harm: what is removed is looked for once more.
 */
export class CollectProgress {
  phase: Phase = 'repositories';
  /** The last repository that was visited, or the last place of blobs; '' before the first. */
  last = '';
  linked = new DigestSet();
  readonly #objects: Objects;
  readonly #now: () => number;
  readonly #isKept: boolean;
  #savedAt: number;
  #isDoubted = false;

  private constructor(objects: Objects, now: () => number, isKept: boolean) {
    this.#objects = objects;
    this.#now = now;
    this.#isKept = isKept;
    this.#savedAt = now();
  }

  /**
   * Begins a run, or goes on with one that was stopped. Without `isKept` nothing is noted and nothing is touched: a dry run.
   * Where what is removed is not looked for once more, a run must not be gone on with: others may have linked to it since.
   */
  static async open(
    objects: Objects,
    {
      now,
      isKept,
      isResumed,
    }: { readonly now: () => number; readonly isKept: boolean; readonly isResumed: boolean },
  ): Promise<CollectProgress> {
    const progress = new CollectProgress(objects, now, isKept);
    if (isKept && isResumed) await progress.#read();
    // One that is not gone on with now is not to be gone on with later either.
    else if (isKept && (await objects.exists(NOTE))) await objects.driver.delete([NOTE, SET]);
    return progress;
  }

  async #read(): Promise<void> {
    const modified = (await this.#objects.info(NOTE))?.modified;
    if (modified === undefined || this.#now() - modified > GOOD_FOR) return;
    const note = parseNote(await this.#objects.bytes(NOTE));
    const bytes = await this.#objects.bytes(SET);
    if (note === undefined || bytes?.byteLength !== note.size) return;
    const linked = DigestSet.from(bytes);
    if (linked === undefined) return;
    this.phase = note.phase;
    this.last = note.last;
    this.linked = linked;
  }

  async enter(phase: Phase): Promise<void> {
    this.phase = phase;
    this.last = '';
    if (this.#now() - this.#savedAt > SAVE_EVERY) await this.save();
  }

  /** @throws the signal's reason */
  async reached(last: string, signal: AbortSignal): Promise<void> {
    this.last = last;
    if (this.#now() - this.#savedAt > SAVE_EVERY) await this.save();
    signal.throwIfAborted();
  }

  /** Nothing is noted from now on: the next run begins where the last note was made, before what is in doubt, or anew. */
  doubt(): void {
    this.#isDoubted = true;
  }

  /** The note last, and away before the set changes: it never belongs to another set. */
  async save(): Promise<void> {
    if (!this.#isKept || this.#isDoubted) return;
    this.#savedAt = this.#now();
    const bytes = this.linked.bytes();
    const note: Note = { phase: this.phase, last: this.last, size: bytes.byteLength };
    await this.#objects.driver.delete([NOTE]);
    try {
      await this.#objects.driver.write(SET, bytes);
      await this.#objects.driver.write(NOTE, Buffer.from(JSON.stringify(note)));
    } catch (error) {
      // The next run then begins anew; this one is what makes room.
      if (!isFull(error)) throw error;
    }
  }

  /** The run is done. */
  async end(): Promise<void> {
    if (this.#isKept) await this.#objects.driver.delete([NOTE, SET]);
  }
}

function parseNote(bytes: Uint8Array | undefined): Note | undefined {
  try {
    const { phase, last, size } = JSON.parse(Buffer.from(bytes ?? []).toString()) as Partial<Note>;
    if ((phase !== 'repositories' && phase !== 'blobs') || typeof last !== 'string') return undefined;
    return typeof size === 'number' ? { phase, last, size } : undefined;
  } catch {
    return undefined;
  }
}
