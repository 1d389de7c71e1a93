/**
 * Faults that a scrub finds. What looks wrong may be a push that is under way, or a deletion, so everything is looked at
 * again after a moment, and only what is still wrong then is told, or repaired.
 */
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

export interface Fault {
  readonly what: FaultKind;
  readonly about: Readonly<Record<string, string | number>>;
  /** What else is told of it; looked for once, before the repair. */
  readonly whereabouts?: () => Promise<Readonly<Record<string, string | readonly string[]>>>;
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
  strays: number;
}

export const NOTHING: Tally = {
  blobs: 0,
  bytes: 0,
  repositories: 0,
  manifests: 0,
  found: 0,
  repaired: 0,
  strays: 0,
};

/** Suspects that are kept before they are looked at again, and milliseconds for which the first one waits at most. */
const MOST = 1000;
const LONGEST = 30_000;

export class Faults {
  readonly tally: Tally;
  readonly #context: Pick<JobContext, 'report' | 'signal' | 'log' | 'exclusive'>;
  readonly #repair: boolean;
  readonly #settleMs: number;
  readonly #suspects = new Map<Stage, Look[]>();
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
    if ((await look()) === undefined) return false;
    this.suspect(stage, look);
    return true;
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
      const fault = await look();
      if (fault !== undefined) faults.push({ fault, look });
    }
    if (this.#repair) {
      const begun = faults.filter(({ fault }) => fault.begin !== undefined);
      for (const { fault } of begun) await fault.begin?.();
      if (begun.length > 0) await this.#pause();
    }
    for (const { fault, look } of faults) await this.#tell(fault, look);
  }

  async #tell({ what, about: known, whereabouts, mend }: Fault, look: Look): Promise<void> {
    const about = { ...known, ...(await whereabouts?.()) };
    const done = this.#repair ? await mend?.() : undefined;
    // Somebody else may have been faster.
    if (this.#repair && mend !== undefined && done === undefined && (await look()) === undefined) return;
    this.tally.found += 1;
    if (done !== undefined) this.tally.repaired += 1;
    const item: JobItem = { what, ...about, ...(done === undefined ? {} : { done }) };
    this.#context.report(item);
    // Who runs it without a server reads the report.
    const { log, exclusive } = this.#context;
    log[exclusive ? 'debug' : 'warn'](`scrub: ${what}`, {
      ...about,
      ...(done === undefined ? {} : { done }),
    });
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
