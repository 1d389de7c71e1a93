import { ADVISED_COST, DEFAULT_COST, hashPassword, LEAST_COST, MOST_COST } from '../auth/bcrypt.ts';
import { CommandFailure, type CommandIo, exitCodeOf, processIo } from './command-io.ts';
import { newPassword, type PasswordSource } from './prompt-password.ts';

export interface NewPasswordOptions extends PasswordSource {
  /** bcrypt's cost, as it was typed or as a number; 10 unless given. */
  readonly cost?: string | number;
}

/**
 * `entrepot hash-password [--cost N] [--password-stdin | --password P]`: prints what to write into `users` of a
 * configuration, or behind the name in an htpasswd file. @returns the exit code
 */
export async function printPasswordHash(
  options: NewPasswordOptions,
  io: CommandIo = processIo(),
): Promise<number> {
  return await exitCodeOf(io, async () => {
    io.out(`${await newPasswordHash(options, io)}\n`);
  });
}

/** Asks for a new password and hashes it. @throws CommandFailure */
export async function newPasswordHash(options: NewPasswordOptions, io: CommandIo): Promise<string> {
  const cost = costOf(options.cost ?? DEFAULT_COST);
  if (cost < ADVISED_COST) {
    io.err(
      `warning: with cost ${cost} whoever reads the hash guesses passwords fast; ${ADVISED_COST} or more is advised\n`,
    );
  }
  return await hashPassword(await newPassword(options, io), cost);
}

function costOf(typed: string | number): number {
  const cost = /^\d{1,2}$/.test(String(typed)) ? Number(typed) : Number.NaN;
  if (cost >= LEAST_COST && cost <= MOST_COST) return cost;
  throw new CommandFailure(
    `--cost: expected a number from ${LEAST_COST} to ${MOST_COST}, found "${typed}"`,
    2,
  );
}
