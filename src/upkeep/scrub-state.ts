/**
 * What the scrub remembers, in the storage, so that another process can go on: how far it came, and when each part of the
 * blobs was last read. It can be lost without harm: the next scrub begins anew.
 *
 *     docker/registry/v2/_entrepot/scrub/state       JSON, see `ScrubState`
 *     docker/registry/v2/_entrepot/scrub/lease       who scrubs at the moment (locks.ts)
 */
import { SCRUB } from '../store/layout.ts';
import type { Objects } from '../store/objects.ts';
import type { JobSummary } from './job.ts';
import { NOTHING, type Tally } from './scrub-faults.ts';

/** In this order: what the cache can fetch again is there when our own repositories are looked at. */
export const PHASES = ['bytes', 'cached', 'own', 'leftovers'] as const;
export type Phase = (typeof PHASES)[number];

export interface Round {
  /** Milliseconds since 1970. */
  readonly started: number;
  readonly phase: Phase;
  /** What was looked at last: `<alg>/<xx>/<hex>` of a blob, or the name of a repository; `''` for nothing yet. */
  readonly at: string;
  readonly tally: Tally;
}

export interface ScrubState {
  /** The scrub that was begun and is not at its end. */
  readonly round?: Round;
  /** When all blobs of `<alg>/<xx>` were last read, in milliseconds since 1970. */
  readonly verified: Readonly<Record<string, number>>;
  /** The last one that came to its end. */
  readonly last?: { readonly started: number; readonly ended: number; readonly summary: JobSummary };
}

export const SCRUB_LEASE = `${SCRUB}lease`;
const STATE = `${SCRUB}state`;

/** What is remembered; nothing, where it is damaged. */
export async function readScrubState(objects: Objects): Promise<ScrubState> {
  const bytes = await objects.bytes(STATE);
  try {
    const value = JSON.parse(Buffer.from(bytes ?? []).toString()) as Partial<ScrubState> | null;
    const { round, verified, last } = value ?? {};
    return {
      verified: typeof verified === 'object' ? verified : {},
      ...(isRound(round) ? { round: { ...round, tally: { ...NOTHING, ...round.tally } } } : {}),
      ...(last === undefined ? {} : { last }),
    };
  } catch {
    return { verified: {} };
  }
}

export async function writeScrubState(objects: Objects, state: ScrubState): Promise<void> {
  await objects.driver.write(STATE, Buffer.from(JSON.stringify(state)), { volatile: true });
}

function isRound(round: Partial<Round> | undefined): round is Round {
  return (
    typeof round?.started === 'number' &&
    typeof round.at === 'string' &&
    (PHASES as readonly unknown[]).includes(round.phase)
  );
}
