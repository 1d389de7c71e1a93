/** What a command reads and writes, and how it fails: in one place, so that commands can be tried without a process. */
import { ConfigError } from '../config/load.ts';
import { StorageFailure } from '../drivers/driver.ts';
import type { Environment } from '../config/environment.ts';
import { standardOutput, UNREAD } from './output.ts';

/** What a password is read from: standard input, or what a test has for it. */
export interface CommandInput extends AsyncIterable<string | Uint8Array> {
  readonly isTTY?: boolean;
  setRawMode?(on: boolean): unknown;
  on(event: 'data', listener: (chunk: string | Uint8Array) => void): unknown;
  on(event: 'end' | 'close', listener: () => void): unknown;
  off(event: 'data', listener: (chunk: string | Uint8Array) => void): unknown;
  off(event: 'end' | 'close', listener: () => void): unknown;
  resume(): unknown;
  pause(): unknown;
}

export interface CommandIo {
  readonly env: Environment;
  readonly input: CommandInput;
  /** Whether somebody watches: standard error is a terminal. */
  readonly isTerminal?: boolean;
  /** For results: standard output. */
  out(text: string): void;
  /** For prompts, warnings and errors: standard error. */
  err(text: string): void;
}

/**
 * This process's own. A reader that goes away ends a listing (exit code 141, as SIGPIPE would); whatever does something goes
 * on unheard.
 */
export function processIo({ isListing = false }: { readonly isListing?: boolean } = {}): CommandIo {
  const { out, err } = standardOutput();
  if (isListing) out.whenUnread(() => process.exit(UNREAD));
  return {
    env: process.env,
    isTerminal: process.stderr.isTTY,
    get input() {
      return process.stdin;
    },
    out: (text) => out.write(text),
    err: (text) => err.write(text),
  };
}

/** A command cannot do what it was asked. The message is for the user. */
export class CommandFailure extends Error {
  override readonly name = 'CommandFailure';
  /** 1: it cannot be done. 2: it was asked for in a wrong way. */
  readonly exitCode: 1 | 2;

  constructor(message: string, exitCode: 1 | 2 = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** Runs a command's work and tells why it failed. @returns the exit code: 0, 1 or 2 */
export async function exitCodeOf(io: CommandIo, work: () => Promise<void>): Promise<number> {
  return codeOf(io, async () => {
    await work();
    return 0;
  });
}

/** The same for work that has an exit code of its own. */
export async function codeOf(io: CommandIo, work: () => Promise<number>): Promise<number> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ConfigError) {
      for (const warning of error.warnings) io.err(`warning: ${warning}\n`);
      io.err(`${error.message}\n`);
      return 1;
    }
    if (!(error instanceof CommandFailure || error instanceof StorageFailure)) throw error;
    io.err(`${error.message}\n`);
    return error instanceof CommandFailure ? error.exitCode : 1;
  }
}
