/**
 * The scrub: reads everything that is stored and tells what is wrong with it; see docs/scrub.md for what users see.
 *
 * It goes in rounds of four phases: all bytes; the repositories that are copies of others, which can bring back what is
 * missing; our own repositories; and what lies about. Where a round was stopped, by hand, by a crash or because the time
 * for it was over, the next one can go on. Nothing of it holds up anybody else: it takes no lock but that of a tag which it
 * is about to repair, and what it takes away it looks for again before it lets it go (quarantine.ts, links.ts).
 */
import { isFull, isUnwritable, StorageFailure } from '../drivers/driver.ts';
import type { Digest } from '../oci/digest.ts';
import type { RepositoryName } from '../oci/name.ts';
import { allRepositories } from '../store/catalog.ts';
import { Hashing } from '../store/hashing.ts';
import { blobKey, BLOBS, type LinkKind, REPOSITORIES } from '../store/layout.ts';
import { withLease } from '../store/locks.ts';
import type { Objects } from '../store/objects.ts';
import type { LeftOut } from '../store/repository-alias.ts';
import { repositoryLinks } from '../store/repository-links.ts';
import type { ManifestRules } from '../store/manifest-rules.ts';
import { type Job, JobBusy, type JobContext, type JobSummary } from './job.ts';
import { blobParts, blobsOf, lookAtBytes, positionOf } from './scrub-blobs.ts';
import { Faults, NOTHING } from './scrub-faults.ts';
import { countQuarantine, scrubLeftovers } from './scrub-leftovers.ts';
import { scrubRepository } from './scrub-repository.ts';
import type { ScrubTools } from './scrub-tools.ts';
import {
  type Phase,
  PHASES,
  readScrubState,
  type Round,
  SCRUB_LEASE,
  type ScrubState,
  writeScrubState,
} from './scrub-state.ts';

export interface ScrubOptions {
  /** Whether to repair what can be repaired; else nothing is changed. */
  readonly repair: boolean;
  /** Goes on with the last round if it is not at its end. */
  readonly resume?: boolean;
  /** Only blobs that were stored in so many milliseconds are read; manifests always are. */
  readonly newerThanMs?: number;
  /** Only parts of the blobs that were not read in so many milliseconds are read. */
  readonly unreadForMs?: number;
  /** Ends when so many bytes were read. */
  readonly mostBytes?: number;
  /** Milliseconds without a write after which an upload counts as abandoned. */
  readonly uploadAgeMs: number;
  /** Milliseconds between two looks at what seems wrong. */
  readonly settleMs?: number;
  /** Milliseconds between two notes of how far it came. */
  readonly noteEveryMs?: number;
  /** What the registry asks of a manifest: what it does not ask for may be missing. */
  readonly rules: Pick<ManifestRules, 'enabled' | 'requireChild'>;
  /** Whether a repository is a copy of another registry's, of which the rest comes when it is asked for. */
  readonly isOnDemand?: (name: RepositoryName) => boolean;
  /** Fetches content of such a repository anew. @returns whether it is there now */
  readonly repairFrom?: (name: RepositoryName, kind: LinkKind, digest: Digest) => Promise<boolean>;
}

/** How long something that seems wrong may be a push under way, in milliseconds. */
const SETTLE = 1_000;
/** How often it is noted how far the round came, in milliseconds. */
const NOTE_EVERY = 5_000;

/** What is told, and kept from being repaired, where all bytes are missing. */
const NO_BYTES =
  'there are repositories, but no bytes at all: nothing is repaired, as `blobs` may be on a disk that is not mounted';

/**
 * Scrubs. The items of its report are a `FaultKind` each, with `done` where it was repaired, `stray`, `left out`, `problem`
 * where all bytes are missing, and `not remembered` where there is no room for its notes. Its summary counts the whole round,
 * also what earlier processes did of it; `complete` tells whether it came to its end, and `problems` how much is wrong still.
 * @throws JobBusy
 */
export const scrub: Job<ScrubOptions> = async (given, options) => {
  const context = { ...given, objects: given.objects.strict() };
  const work = async (lost: AbortSignal): Promise<JobSummary> => {
    const signal = AbortSignal.any([context.signal, lost]);
    const isBare = await lacksAllBytes(context.objects);
    if (isBare) context.report({ what: 'problem', why: NO_BYTES });
    const state = await readScrubState(context.objects);
    return new Scrub({ ...context, signal }, { ...options, repair: options.repair && !isBare }, state).run();
  };
  const done = await withLease(context.objects, SCRUB_LEASE, work, { onlyReads: !options.repair });
  if (done === undefined) throw new JobBusy('another scrub of this storage is under way');
  return done.result;
};

/** Whether links would all seem to dangle. What cannot be read is told by who reads it. */
async function lacksAllBytes(objects: Objects): Promise<boolean> {
  try {
    return (await isAnyLinked(objects)) && !(await isAnyStored(objects));
  } catch (error) {
    if (error instanceof StorageFailure) return false;
    throw error;
  }
}

async function isAnyLinked(objects: Objects): Promise<boolean> {
  for await (const name of allRepositories(objects)) {
    for (const kind of ['revisions', 'layers'] as const)
      for await (const _ of repositoryLinks(objects, name, kind)) return true;
  }
  return false;
}

async function isAnyStored(objects: Objects): Promise<boolean> {
  for (const algorithm of await objects.names(BLOBS))
    if ((await objects.names(`${BLOBS}${algorithm}/`)).length > 0) return true;
  return false;
}

/** Thrown to end a round before its end. */
class Enough extends Error {}

class Scrub {
  readonly #context: JobContext;
  readonly #options: ScrubOptions;
  readonly #tools: ScrubTools;
  #state: ScrubState;
  readonly #started: number;
  #phase: Phase;
  #at: string;
  #noted = Date.now();
  /** Whether it was told that there is no room to note how far it came. */
  #isForgetful = false;
  readonly #bytesBefore: number;

  constructor(context: JobContext, options: ScrubOptions, state: ScrubState) {
    this.#context = context;
    this.#options = options;
    this.#state = state;
    const round = options.resume === true ? state.round : undefined;
    this.#started = round?.started ?? Date.now();
    this.#phase = round?.phase ?? 'bytes';
    this.#at = round?.at ?? '';
    const settleMs = context.exclusive ? 0 : (options.settleMs ?? SETTLE);
    const faults = new Faults(context, { repair: options.repair, settleMs, tally: round?.tally ?? NOTHING });
    this.#bytesBefore = faults.tally.bytes;
    const { objects, signal, pace } = context;
    this.#tools = { objects, signal, pace, faults, hashing: new Hashing() };
  }

  async run(): Promise<JobSummary> {
    try {
      for (const phase of PHASES.slice(PHASES.indexOf(this.#phase))) {
        if (phase !== this.#phase) this.#enter(phase);
        await this.#run(phase);
        await this.#tools.faults.settle();
      }
    } catch (error) {
      // Of what was not looked at twice the next one has to look at all again: the last note stands.
      if (this.#tools.faults.settled) await this.#note().catch(() => undefined);
      if (error instanceof Enough) return this.#summary(false);
      throw error;
    }
    const summary = await this.#summary(true);
    const { verified } = this.#state;
    const last = { started: this.#started, ended: Date.now(), summary };
    this.#state = { verified, last };
    await this.#write();
    return summary;
  }

  #enter(phase: Phase): void {
    this.#phase = phase;
    this.#at = '';
  }

  #run(phase: Phase): Promise<void> {
    if (phase === 'bytes') return this.#bytes();
    if (phase === 'leftovers') return scrubLeftovers(this.#tools, this.#options.uploadAgeMs);
    return this.#repositories(phase);
  }

  async #bytes(): Promise<void> {
    const { faults, signal } = this.#tools;
    const { unreadForMs = 0 } = this.#options;
    const parts = await blobParts(this.#tools);
    for (const [index, part] of parts.entries()) {
      this.#context.progress('bytes', index, parts.length);
      // Before the place that was come to there is nothing left to do.
      if (`${part}0` <= this.#at) continue;
      const unreadFor = Date.now() - (this.#state.verified[part] ?? 0);
      // What was read in the future, by a clock that was wrong, may have been read long ago.
      if (unreadFor >= 0 && unreadFor < unreadForMs) continue;
      const begun = Date.now();
      const isRead = await faults.part({ folder: `${BLOBS}${part}/` }, async () => {
        for await (const digest of blobsOf(this.#tools, part, this.#at)) {
          signal.throwIfAborted();
          await this.#blob(digest);
          this.#at = positionOf(digest);
          await this.#noteSoon();
          if (faults.tally.bytes - this.#bytesBefore >= (this.#options.mostBytes ?? Infinity)) {
            await faults.settle();
            throw new Enough();
          }
        }
      });
      await faults.settleSoon();
      if (isRead && this.#options.newerThanMs === undefined)
        this.#state = { ...this.#state, verified: { ...this.#state.verified, [part]: begun } };
    }
    this.#context.progress('bytes', parts.length, parts.length);
  }

  async #blob(digest: Digest): Promise<void> {
    const { newerThanMs } = this.#options;
    if (newerThanMs !== undefined) {
      await this.#tools.pace(1);
      const stored = (await this.#tools.objects.info(blobKey(digest)))?.modified ?? 0;
      if (Date.now() - stored > newerThanMs) return;
    }
    await this.#tools.faults.look('bytes', () => lookAtBytes(this.#tools, digest));
  }

  async #repositories(phase: 'cached' | 'own'): Promise<void> {
    const { faults, signal } = this.#tools;
    const { rules, newerThanMs, unreadForMs, repair, repairFrom } = this.#options;
    const { isOnDemand = () => false } = this.#options;
    const bytesKnown = newerThanMs === undefined && unreadForMs === undefined;
    let done = 0;
    const last = this.#at === '' ? undefined : (this.#at as RepositoryName);
    const walk = {
      last,
      signal,
      onUnreadable: (repository: RepositoryName | undefined, error: StorageFailure) => {
        faults.unreadable(repository === undefined ? { folder: REPOSITORIES } : { repository }, error);
      },
      onLeftOut: (repository: RepositoryName, { why }: LeftOut) => {
        if (phase === 'own') this.#context.report({ what: 'left out', repository, why });
      },
    };
    for await (const name of allRepositories(this.#tools.objects, walk)) {
      signal.throwIfAborted();
      const onDemand = isOnDemand(name);
      if (onDemand === (phase === 'cached')) {
        const fetchAnew = async (kind: LinkKind, digest: Digest) =>
          onDemand && repair && (await repairFrom?.(name, kind, digest)) === true;
        const tools = { ...this.#tools, name, onDemand, rules, bytesKnown, repairFrom: fetchAnew };
        await faults.part({ repository: name }, () => scrubRepository(tools));
        done += 1;
        this.#context.progress(`${phase} repositories`, done);
      }
      await faults.settleSoon();
      this.#at = name;
      await this.#noteSoon();
    }
  }

  async #noteSoon(): Promise<void> {
    const { noteEveryMs = NOTE_EVERY } = this.#options;
    if (Date.now() - this.#noted >= noteEveryMs && this.#tools.faults.settled) await this.#note();
  }

  async #note(): Promise<void> {
    this.#noted = Date.now();
    const { tally } = this.#tools.faults;
    const round: Round = { started: this.#started, phase: this.#phase, at: this.#at, tally };
    this.#state = { ...this.#state, round };
    await this.#write();
  }

  /** What a full disk has no room for is not remembered; that is told once, and the scrub goes on. */
  async #write(): Promise<void> {
    try {
      await writeScrubState(this.#tools.objects, this.#state);
    } catch (error) {
      // Of a snapshot that is only read nothing can be noted, as who asked for it knows.
      if (isUnwritable(error) && !this.#options.repair) return;
      if (!isFull(error)) throw error;
      if (this.#isForgetful) return;
      this.#isForgetful = true;
      const { exclusive, log, report } = this.#context;
      report({
        what: 'not remembered',
        why: `${error.message}: one that is stopped begins at its last note`,
      });
      log[exclusive ? 'debug' : 'warn']('scrub: how far it came cannot be noted', { reason: error.message });
    }
  }

  async #summary(complete: boolean): Promise<JobSummary> {
    const { found, repaired, leftovers, ...counted } = this.#tools.faults.tally;
    return {
      complete,
      ...counted,
      found,
      repaired,
      leftovers,
      problems: found - repaired - leftovers,
      quarantine: await countQuarantine(this.#tools),
    };
  }
}
