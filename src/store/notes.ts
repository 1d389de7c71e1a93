/** What is noted beside the content, for all processes and nodes: small JSON objects. */
import { jobNoteKey, lastRunKey, READ_ONLY_KEY } from './layout.ts';
import type { Objects } from './objects.ts';

/** That changes are refused until it is taken back. */
export interface ReadOnlyNote {
  /** For clients; may be empty. */
  readonly reason: string;
  /** Milliseconds since 1970. */
  readonly since: number;
}

/** undefined while changes are let happen. A note that cannot be read refuses them: it was meant to. */
export async function readOnlyNote(objects: Objects): Promise<ReadOnlyNote | undefined> {
  const bytes = await objects.bytes(READ_ONLY_KEY);
  if (bytes === undefined) return undefined;
  const { reason, since } = parsed(bytes);
  return { reason: typeof reason === 'string' ? reason : '', since: typeof since === 'number' ? since : 0 };
}

/** Durable on return; undefined takes it back. */
export async function noteReadOnly(objects: Objects, note: ReadOnlyNote | undefined): Promise<void> {
  if (note === undefined) await objects.driver.delete([READ_ONLY_KEY]);
  else await objects.driver.write(READ_ONLY_KEY, Buffer.from(JSON.stringify(note)));
}

/** The last run of a job, on whichever node. */
export interface JobNote {
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  /** Left out while it runs, and of one that did not come to its end. */
  readonly endedAt?: number;
  /** Whether it did all there was to do. */
  readonly isComplete: boolean;
}

export async function jobNote(objects: Objects, job: string): Promise<JobNote | undefined> {
  const bytes = await objects.bytes(jobNoteKey(job));
  if (bytes === undefined) return undefined;
  const { startedAt, endedAt, isComplete } = parsed(bytes);
  if (typeof startedAt !== 'number') return undefined;
  return {
    startedAt,
    ...(typeof endedAt === 'number' ? { endedAt } : {}),
    isComplete: isComplete === true,
  };
}

export async function noteJob(objects: Objects, job: string, note: JobNote): Promise<void> {
  await objects.driver.write(jobNoteKey(job), Buffer.from(JSON.stringify(note)), { volatile: true });
}

/** How a run ended, as plain JSON: whoever notes it knows its shape, and looks at it when it comes back. */
export type RunNote = Readonly<Record<string, unknown>>;

/** Notes how a run of the job ended, by whomever it was done. `isDone`: it did all there was to do. */
export async function noteRunEnd(
  objects: Objects,
  job: string,
  note: RunNote,
  isDone: boolean,
): Promise<void> {
  const bytes = Buffer.from(JSON.stringify(note));
  for (const which of isDone ? (['last', 'done'] as const) : (['last'] as const))
    await objects.driver.write(lastRunKey(job, which), bytes, { volatile: true });
}

/** How the last run of the job ended, or the last one that did all there was to do; undefined where nobody noted it. */
export async function runEnd(
  objects: Objects,
  job: string,
  which: 'last' | 'done',
): Promise<RunNote | undefined> {
  const bytes = await objects.bytes(lastRunKey(job, which));
  return bytes === undefined ? undefined : parsed(bytes);
}

function parsed(bytes: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
