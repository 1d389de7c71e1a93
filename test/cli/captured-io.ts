import type { CommandIo } from '../../src/cli/command-io.ts';

/** Runs a command that asks nothing, and tells its exit code and what it printed. */
export async function captured(
  command: (io: CommandIo) => Promise<number>,
): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  let out = '';
  let err = '';
  const io: CommandIo = {
    env: {},
    get input(): never {
      throw new Error('nothing is asked');
    },
    out: (text) => void (out += text),
    err: (text) => void (err += text),
  };
  const code = await command(io);
  return { code, out, err };
}
