/** How a command gets a password: typed twice without being shown, from a pipe, or on the command line if it must be. */
import { StringDecoder } from 'node:string_decoder';
import { faultOf } from '../auth/bcrypt.ts';
import { CommandFailure, type CommandInput, type CommandIo } from './command-io.ts';

export interface PasswordSource {
  /** Read it from standard input, to its end. */
  readonly passwordStdin?: boolean;
  /** The password itself. */
  readonly password?: string;
}

/** A pipe that says more is no password. In characters. */
const MOST_READ = 4096;

/**
 * A new password, which can be stored.
 * @throws CommandFailure when there is none, when it cannot be stored, or when the two that were typed differ
 */
export async function newPassword(
  { passwordStdin = false, password }: PasswordSource,
  io: CommandIo,
): Promise<string> {
  if (passwordStdin && password !== undefined) {
    throw new CommandFailure('--password and --password-stdin: expected one of the two', 2);
  }
  if (password !== undefined) {
    io.err(
      'warning: a password on the command line can be read by everybody on this machine, and stays in the shell’s history; --password-stdin does not\n',
    );
    return usable(password);
  }
  if (passwordStdin) return usable(await readAll(io.input));
  if (io.input.isTTY !== true || io.input.setRawMode === undefined) {
    throw new CommandFailure(
      'there is no terminal to ask for a password; give it by --password-stdin, such as: printf %s "$PASSWORD" | entrepot … --password-stdin',
      2,
    );
  }
  return await typedTwice(io);
}

function usable(password: string): string {
  const fault = faultOf(password);
  if (fault !== undefined) throw new CommandFailure(`the password ${fault}`, 2);
  return password;
}

/** All of the input, without the line end that `echo` and editors put behind it. */
async function readAll(input: CommandInput): Promise<string> {
  const decoder = new StringDecoder('utf8');
  let text = '';
  for await (const chunk of input) {
    text += typeof chunk === 'string' ? chunk : decoder.write(Buffer.from(chunk));
    if (text.length > MOST_READ) throw new CommandFailure('what standard input gives is no password', 2);
  }
  return (text + decoder.end()).replace(/\r?\n$/, '');
}

async function typedTwice(io: CommandIo): Promise<string> {
  const keys = new Keys(io.input);
  try {
    io.err('Password: ');
    const password = await keys.line(io);
    // Told before it is typed again.
    usable(password);
    io.err('Again: ');
    if ((await keys.line(io)) !== password) throw new CommandFailure('the two passwords differ');
    return password;
  } finally {
    keys.stop();
  }
}

const BACKSPACE = ['\u0008', '\u007F'];
const CTRL_C = '\u0003';
const CTRL_D = '\u0004';
const CTRL_U = '\u0015';

/** A terminal that shows nothing of what is typed. */
class Keys {
  readonly #input: CommandInput;
  readonly #decoder = new StringDecoder('utf8');
  /** Typed and not yet taken: whoever pastes two lines means both. */
  #typed: string[] = [];
  #isOver = false;
  #wake: (() => void) | undefined;

  constructor(input: CommandInput) {
    this.#input = input;
    input.setRawMode?.(true);
    input.on('data', this.#take);
    input.on('end', this.#end);
    input.on('close', this.#end);
    input.resume();
  }

  /** What is typed up to the Enter key. @throws CommandFailure when it is given up */
  async line(io: CommandIo): Promise<string> {
    const line: string[] = [];
    for (;;) {
      const key = await this.#next();
      if (key === '\r' || key === '\n') break;
      if (key === undefined || key === CTRL_C || (key === CTRL_D && line.length === 0)) {
        io.err('\n');
        throw new CommandFailure('given up: nothing was changed');
      }
      if (BACKSPACE.includes(key)) line.pop();
      else if (key === CTRL_U) line.length = 0;
      else line.push(key);
    }
    io.err('\n');
    return line.join('');
  }

  /** Gives the terminal back. */
  stop(): void {
    this.#input.off('data', this.#take);
    this.#input.off('end', this.#end);
    this.#input.off('close', this.#end);
    this.#input.setRawMode?.(false);
    this.#input.pause();
  }

  async #next(): Promise<string | undefined> {
    while (this.#typed.length === 0 && !this.#isOver) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#typed.shift();
  }

  readonly #take = (chunk: string | Uint8Array): void => {
    const text = typeof chunk === 'string' ? chunk : this.#decoder.write(Buffer.from(chunk));
    // A terminal in raw mode sends \r for Enter; what is pasted may have both.
    this.#typed.push(...Array.from(text.replaceAll('\r\n', '\n')));
    this.#wake?.();
  };

  readonly #end = (): void => {
    this.#isOver = true;
    this.#wake?.();
  };
}
