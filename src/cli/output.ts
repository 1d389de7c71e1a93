/**
 * A command's standard output, which may break: a reader that has seen enough (`| head -1`), a full disk. What the command does
 * for the registry goes on all the same; what is only told ends.
 */

/** Of a stream that a command writes to: `process.stdout`, or a test's. */
export interface Sink {
  write(text: string, done?: (error?: Error | null) => void): unknown;
  on(event: 'error', listener: (error: NodeJS.ErrnoException) => void): unknown;
}

/** Exit code of a listing that nobody reads any more, as a shell tells SIGPIPE. */
export const UNREAD = 141;

/** Writes until that fails, and remembers why. Never throws. */
export class Output {
  readonly #sink: Sink;
  #failure: NodeJS.ErrnoException | undefined;
  #onUnread: (() => void) | undefined;
  #pending = 0;
  #wake = (): void => undefined;

  constructor(sink: Sink) {
    this.#sink = sink;
    sink.on('error', (error) => this.#fail(error));
  }

  /** Told at the first text that nobody is left to read: for listings, which then are of no use. */
  whenUnread(listener: () => void): void {
    this.#onUnread = listener;
  }

  /** Drops what comes after a failure: the error of a second write would say the same. */
  write(text: string): void {
    if (this.#failure !== undefined) return;
    try {
      this.#pending += 1;
      this.#sink.write(text, (error) => {
        this.#pending -= 1;
        if (error !== null && error !== undefined) this.#fail(error);
        if (this.#pending === 0) this.#wake();
      });
    } catch (error) {
      this.#fail(error as NodeJS.ErrnoException);
    }
  }

  /** Waits until all is written. @returns why it could not be; undefined also for a reader that went away */
  async end(): Promise<string | undefined> {
    // An empty write at the end would not do: Bun calls it written while the text before it fails.
    if (this.#failure === undefined && this.#pending > 0)
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    const failure = this.#failure;
    return failure === undefined || failure.code === 'EPIPE' ? undefined : failure.message;
  }

  #fail(error: NodeJS.ErrnoException): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#wake();
    if (error.code === 'EPIPE') this.#onUnread?.();
  }
}

let standard: { readonly out: Output; readonly err: Output } | undefined;

/** This process's standard output and standard error; from then on neither can end the process by breaking. */
export function standardOutput(): { readonly out: Output; readonly err: Output } {
  standard ??= { out: new Output(process.stdout), err: new Output(process.stderr) };
  return standard;
}

/**
 * Waits until all that this process's command has told is written.
 * @returns the command's exit code; 1 where it is 0 and what was told could not be written, of which a line tells
 */
export async function endOutput(exitCode: number): Promise<number> {
  const failure = await standard?.out.end();
  if (failure === undefined) return exitCode;
  standard?.err.write(`standard output: ${failure}: what was told is not complete\n`);
  return exitCode === 0 ? 1 : exitCode;
}
