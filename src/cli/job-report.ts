/** How a job's run is shown: lines for people, JSON lines for programs, a bar on a terminal. */
import type { EndedJob } from '../admin/messages.ts';
import type { JobEvent } from '../server/job-messages.ts';
import { type JobItem, type JobSummary, problemsIn } from '../upkeep/job.ts';
import type { CommandIo } from './command-io.ts';
import { formatSeconds, formatSize, formatTime } from './format.ts';
import { ProgressBar } from './progress-bar.ts';

/** Exit codes of commands that run a job; 2 is for what was asked for in a wrong way. */
export const EXIT = { done: 0, failed: 1, problems: 3, cancelled: 130 } as const;

export interface ReportStyle {
  /** Items and summary as JSON lines. */
  readonly json?: boolean | undefined;
  /** Nothing but errors. */
  readonly quiet?: boolean | undefined;
  /** A line for an item; undefined for none. */
  readonly item?: (item: JobItem) => string | undefined;
  /** Lines at the end of a run. */
  readonly summary?: (summary: JobSummary, ended: EndedJob) => string;
}

/** Shows one run. */
export class JobReport {
  readonly #io: CommandIo;
  readonly #style: ReportStyle;
  readonly #bar: ProgressBar | undefined;

  constructor(io: CommandIo, style: ReportStyle) {
    this.#io = io;
    this.#style = style;
    const isShown = io.isTerminal === true && style.json !== true && style.quiet !== true;
    this.#bar = isShown ? new ProgressBar((text) => io.err(text)) : undefined;
  }

  event(event: JobEvent): void {
    if (event.kind === 'progress') {
      this.#bar?.show(event);
      return;
    }
    const { json, quiet, item: line = describeItem } = this.#style;
    if (quiet === true && json !== true) return;
    const lines = event.items.map((item) => (json === true ? JSON.stringify(item) : line(item)));
    const text = lines.filter((one) => one !== undefined).join('\n');
    if (text === '') return;
    this.#bar?.erase();
    this.#io.out(`${text}\n`);
  }

  /** What is not a result. */
  note(text: string): void {
    if (this.#style.quiet === true) return;
    this.#bar?.erase();
    this.#io.err(`${text}\n`);
  }

  /** @returns the exit code */
  end(ended: EndedJob): number {
    this.#bar?.erase();
    const { job, seconds, outcome } = ended;
    const { json, quiet, summary: lines = describeSummary } = this.#style;
    if (json === true) {
      const { kind, ...rest } = outcome;
      this.#io.out(`${JSON.stringify({ what: 'summary', job, outcome: kind, ...rest, seconds })}\n`);
    } else if (outcome.kind === 'done') {
      const text = quiet === true ? '' : lines(outcome.summary, ended);
      if (text !== '') this.#io.out(`${text}\n`);
    }
    if (outcome.kind === 'done') return problemsIn(outcome.summary) > 0 ? EXIT.problems : EXIT.done;
    if (json !== true || outcome.kind === 'failed' || outcome.kind === 'refused')
      this.#io.err(`${job}: ${ENDS[outcome.kind]}${outcome.message}\n`);
    return outcome.kind === 'stopped' ? EXIT.cancelled : EXIT.failed;
  }
}

const ENDS = { stopped: 'ended before its time: ', busy: '', refused: '', failed: '' } as const;

/** In milliseconds. */
const MINUTE = 60_000;

/** Names of a list of repositories that people are told; programs are told all. */
const MOST_REPOSITORIES = 3;

/**
 * `blob sha256:… 12.5 MiB (unreferenced)`: sizes and reasons have a form of their own, what is a name speaks for itself.
 * Where there are two digests it is told of what each is.
 */
export function describeItem({ what, why, moreRepositories = 0, ...rest }: JobItem): string {
  const areLabelled = Object.values(rest).filter(isDigestText).length > 1;
  const words = Object.entries(rest).map(([name, value]) => {
    // Up to a whole minute: before the time that is shown it is too early.
    if (name === 'until' && typeof value === 'string')
      return `until ${formatTime(Date.parse(value) + MINUTE - 1)} UTC`;
    if (areLabelled && (isDigestText(value) || name === 'tag')) {
      // `missing layer`: what is missing is the layer.
      return `${name === 'digest' ? (what.split(' ').at(-1) ?? name) : name} ${String(value)}`;
    }
    if (name === 'repositories' && Array.isArray(value)) {
      const more = value.length - MOST_REPOSITORIES + Number(moreRepositories);
      const told = value.slice(0, MOST_REPOSITORIES).join(', ');
      return `${name} ${told}${more > 0 ? ` and ${more} more` : ''}`;
    }
    if (typeof value === 'string') return value;
    if (typeof value === 'number') return isSize(name) ? formatSize(value) : `${name} ${value}`;
    if (typeof value === 'boolean') return value ? spaced(name) : '';
    return value.length === 0 ? '' : `${spaced(name)} ${value.join(', ')}`;
  });
  const reason = typeof why === 'string' ? [`(${why})`] : [];
  return [spaced(what), ...words.filter((word) => word !== ''), ...reason].join(' ');
}

/** `gc: blobs 3, manifests 1, 12.5 MiB, 1.2 s`. */
export function describeSummary(summary: JobSummary, { job, seconds }: EndedJob): string {
  // Its own time has been told by who ran it.
  const { seconds: _own, ...counts } = summary;
  const words = Object.entries(counts).map(([name, value]) => {
    if (typeof value === 'boolean') return value ? spaced(name) : '';
    if (typeof value === 'number' && isSize(name)) return `${spaced(name)} ${formatSize(value)}`;
    return `${spaced(name)} ${value}`;
  });
  return `${job}: ${[...words.filter((word) => word !== ''), formatSeconds(seconds)].join(', ')}`;
}

function isDigestText(value: unknown): boolean {
  return typeof value === 'string' && /^sha(?:256|512):[0-9a-f]+$/.test(value);
}

function isSize(name: string): boolean {
  return /bytes$/i.test(name);
}

/** `removedBytes` as `removed bytes`. */
function spaced(name: string): string {
  return name.replaceAll(/(?<=[a-z])[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}
