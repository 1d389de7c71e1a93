/**
 * Faults that a scrub finds. What looks wrong may be a push that is under way, or a deletion, so everything is looked at
 * again after a moment, and only what is still wrong then is told, or repaired.
 */
import { isFull, StorageFailure } from '../drivers/driver.ts';
import type { LogFields } from '../log.ts';
import type { JobContext, JobItem } from './job.ts';

/** What can be wrong, in the words of the report. */
export type FaultKind =
  | 'wrong digest'
  | 'unreadable'
  | 'damaged link'
  | 'wrong link'
  | 'dangling link'
  | 'broken manifest'
  | 'missing child'
  | 'missing config'
  | 'missing layer'
  | 'damaged tag'
  | 'dangling tag'
  | 'damaged referrer'
  | 'orphan referrer'
  | 'missing referrer'
  | 'missing mark'
  | 'orphan upload'
  | 'orphan temporary';

/** Of these, what takes up room and damages nothing: uploads are removed when they are next purged. */
const LEFTOVERS: ReadonlySet<FaultKind> = new Set(['orphan upload', 'orphan temporary']);

/** What is told of a fault beside what it is about. */
export type Whereabouts = Readonly<Record<string, string | number | boolean | readonly string[]>>;

export interface Fault {
  readonly what: FaultKind;
  readonly about: Readonly<Record<string, string | number>>;
  /** What else is told of it; looked for once, before the repair. */
  readonly whereabouts?: () => Promise<Whereabouts>;
  /** A first step of the repair, after which another moment passes before `mend`. */
  readonly begin?: () => Promise<void>;
  /** Repairs it. @returns what was done, in a word or two; undefined where it cannot be repaired (any more) */
  readonly mend?: () => Promise<string | undefined>;
}

/** Looks whether something is wrong, anew each time. */
export type Look = () => Promise<Fault | undefined>;

/** The order in which faults are looked at again: what one's repair takes away, the later ones miss. */
export const STAGES = ['bytes', 'links', 'manifests', 'tags', 'referrers', 'leftovers'] as const;
export type Stage = (typeof STAGES)[number];

/** Counts of a scrub, also of the parts of it that earlier processes did. */
export interface Tally {
  blobs: number;
  bytes: number;
  repositories: number;
  manifests: number;
  found: number;
  repaired: number;
  /** Of what was found, what takes up room and damages nothing, and is still there. */
  leftovers: number;
  strays: number;
}

export const NOTHING: Tally = {
  blobs: 0,
  bytes: 0,
  repositories: 0,
  manifests: 0,
  found: 0,
  repaired: 0,
  leftovers: 0,
  strays: 0,
};

/** Suspects that are kept before they are looked at again, and milliseconds for which the first one waits at most. */
const MOST = 1000;
const LONGEST = 30_000;
/** Places that cannot be read of which it is remembered that they were told. */
const MOST_REMEMBERED = 10_000;

export class Faults {
  readonly tally: Tally;
  readonly #context: Pick<JobContext, 'report' | 'signal' | 'log' | 'exclusive'>;
  readonly #repair: boolean;
  readonly #settleMs: number;
  readonly #suspects = new Map<Stage, Look[]>();
  readonly #unreadable = new Set<string>();
  #count = 0;
  #since = 0;

  /** @param settleMs milliseconds between two looks at the same */
  constructor(
    context: Pick<JobContext, 'report' | 'signal' | 'log' | 'exclusive'>,
    options: { readonly repair: boolean; readonly settleMs: number; readonly tally: Tally },
  ) {
    this.#context = context;
    this.#repair = options.repair;
    this.#settleMs = options.settleMs;
    this.tally = { ...options.tally };
  }

  /** Whether everything that was looked at is settled: then a position may be noted. */
  get settled(): boolean {
    return this.#count === 0;
  }

  /** Looks; what seems wrong is looked at again by `settle`. @returns whether it seems wrong */
  async look(stage: Stage, look: Look): Promise<boolean> {
    const seen = await this.#seen(look);
    if (seen === undefined) return false;
    if (seen !== 'unreadable') this.suspect(stage, look);
    return true;
  }

  /** Looks at a part, of which nothing more is seen where the storage cannot be read; that is told, and the rest goes on. */
  async part(about: Readonly<Record<string, string>>, look: () => Promise<void>): Promise<boolean> {
    try {
      await look();
      return true;
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      this.unreadable(about, error);
      return false;
    }
  }

  /** Tells once of what cannot be read, which nothing here can repair. */
  unreadable(about: Readonly<Record<string, string>>, { message }: StorageFailure): void {
    if (this.#unreadable.has(message)) return;
    if (this.#unreadable.size < MOST_REMEMBERED) this.#unreadable.add(message);
    this.tally.found += 1;
    this.#say('unreadable', { ...about, reason: message });
  }

  async #seen(look: Look): Promise<Fault | 'unreadable' | undefined> {
    try {
      return await look();
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      this.unreadable({}, error);
      return 'unreadable';
    }
  }

  /** Has `settle` look at it, whatever it looks like now. */
  suspect(stage: Stage, look: Look): void {
    if (this.#count === 0) this.#since = Date.now();
    this.#count += 1;
    const suspects = this.#suspects.get(stage) ?? [];
    suspects.push(look);
    this.#suspects.set(stage, suspects);
  }

  /** Something that belongs to nothing: told, never touched, and no fault. */
  stray(key: string): void {
    this.tally.strays += 1;
    this.#context.report({ what: 'stray', key });
  }

  /** Settles when there are many suspects, or they have waited for long. To be called between two repositories. */
  async settleSoon(): Promise<void> {
    if (this.#count >= MOST || (this.#count > 0 && Date.now() - this.#since > LONGEST)) await this.settle();
  }

  /** Looks at all suspects again, and tells and repairs what is still wrong. */
  async settle(): Promise<void> {
    if (this.#count === 0) return;
    await this.#pause();
    for (const stage of STAGES) {
      const looks = this.#suspects.get(stage) ?? [];
      this.#suspects.delete(stage);
      await this.#settleStage(looks);
      this.#count -= looks.length;
    }
  }

  async #settleStage(looks: readonly Look[]): Promise<void> {
    const faults: { readonly fault: Fault; readonly look: Look }[] = [];
    for (const look of looks) {
      this.#context.signal.throwIfAborted();
      const fault = await this.#seen(look);
      if (fault !== undefined && fault !== 'unreadable') faults.push({ fault, look });
    }
    if (this.#repair) {
      const begun = faults.filter(({ fault }) => fault.begin !== undefined);
      for (const { fault } of begun) await unlessFull(() => fault.begin?.());
      if (begun.length > 0) await this.#pause();
    }
    for (const { fault, look } of faults) await this.#tell(fault, look);
  }

  async #tell({ what, about: known, whereabouts, mend }: Fault, look: Look): Promise<void> {
    const about = { ...known, ...(await whereabouts?.()) };
    const done = this.#repair ? await unlessFull(() => mend?.()) : undefined;
    // Somebody else may have been faster.
    if (this.#repair && mend !== undefined && done === undefined && (await look()) === undefined) return;
    this.tally.found += 1;
    if (done !== undefined) this.tally.repaired += 1;
    else if (LEFTOVERS.has(what)) this.tally.leftovers += 1;
    this.#say(what, { ...about, ...(done === undefined ? {} : { done }) });
  }

  #say(what: FaultKind, about: Omit<JobItem, 'what'>): void {
    const { log, exclusive, report } = this.#context;
    report({ what, ...about });
    // Who runs it without a server reads the report.
    log[exclusive ? 'debug' : LEFTOVERS.has(what) ? 'info' : 'warn'](`scrub: ${what}`, about as LogFields);
  }

  async #pause(): Promise<void> {
    const { signal } = this.#context;
    signal.throwIfAborted();
    if (this.#settleMs === 0) return;
    await new Promise<void>((resolve, reject) => {
      const stop = () => {
        clearTimeout(timer);
        reject(signal.reason instanceof Error ? signal.reason : new Error(String(signal.reason)));
      };
      const timer = setTimeout(() => {
        signal.removeEventListener('abort', stop);
        resolve();
      }, this.#settleMs);
      signal.addEventListener('abort', stop, { once: true });
    });
  }
}

/** A repair for which there is no room is left to the next scrub: this one goes on, and tells what is wrong. */
async function unlessFull<T>(repair: () => Promise<T> | undefined): Promise<T | undefined> {
  try {
    return await repair();
  } catch (error) {
    if (isFull(error)) return undefined;
    throw error;
  }
}

/** What a look fails with; a note of how far it came fails otherwise. */
function isUnreadable(error: unknown): error is StorageFailure {
  return error instanceof StorageFailure && !['ENOSPC', 'EDQUOT', 'EROFS'].includes(error.code);
}
