import type { JobEvent } from '../server/job-messages.ts';

type Progress = Extract<JobEvent, { kind: 'progress' }>;

const WIDTH = 24;
const ERASE = '\r\u001B[2K';

/** One line of a terminal that tells how far a job is, and makes room for others. */
export class ProgressBar {
  readonly #write: (text: string) => void;
  readonly #now: () => number;
  #phase = '';
  #begun = { at: 0, done: 0 };
  #isShown = false;

  constructor(write: (text: string) => void, now: () => number = () => performance.now()) {
    this.#write = write;
    this.#now = now;
  }

  show(progress: Progress): void {
    const now = this.#now();
    if (progress.phase !== this.#phase) {
      this.#phase = progress.phase;
      this.#begun = { at: now, done: progress.done };
    }
    const seconds = (now - this.#begun.at) / 1000;
    const rate = seconds < 0.5 ? undefined : Math.round((progress.done - this.#begun.done) / seconds);
    this.#write(`${ERASE}${barLine(progress, rate)}`);
    this.#isShown = true;
  }

  /** Before anything else is written. */
  erase(): void {
    if (this.#isShown) this.#write(ERASE);
    this.#isShown = false;
  }
}

/** `marking  [########        ]  50 %  1,000 of 2,000, 500 a second`. */
export function barLine({ phase, done, total }: Progress, rate: number | undefined): string {
  const speed = rate === undefined || rate <= 0 ? '' : `, ${grouped(rate)} a second`;
  if (total === undefined || total <= 0) return `${phase}  ${grouped(done)}${speed}`;
  const part = Math.min(1, done / total);
  const filled = Math.floor(part * WIDTH);
  const bar = `[${'#'.repeat(filled)}${' '.repeat(WIDTH - filled)}]`;
  return `${phase}  ${bar}  ${Math.floor(part * 100)} %  ${grouped(done)} of ${grouped(total)}${speed}`;
}

function grouped(count: number): string {
  return String(Math.round(count)).replaceAll(/\B(?=(?:\d{3})+$)/g, ',');
}
