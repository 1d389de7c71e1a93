/** Stored passwords: their form (bcrypt, `$2a$`, `$2b$` and `$2y$`), which ones are taken, and how they are made. */
import { hash } from 'bcryptjs';

/** The cost of hashes that we make: about 70 ms of one core. Each further one doubles it. */
export const DEFAULT_COST = 10;
/** Of less is advised against: whoever gets hold of the hash tries passwords too fast. */
export const ADVISED_COST = 10;
/** bcrypt's own least cost. */
export const LEAST_COST = 4;
/** About 5 s for each check. With more, one wrong password would keep everybody else from logging in. */
export const MOST_COST = 16;

/** bcrypt looks at no more bytes than these. */
const MOST_BYTES = 72;
/** No password of a person or program has more bytes than these. */
const MOST_BYTES_ASKED = 1024;

const HASH = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/;

/** The cost of a stored password; undefined for what is no bcrypt hash, or one of a cost that is not taken. */
export function costOf(hash: string): number | undefined {
  const cost = Number(HASH.exec(hash)?.[1]);
  return cost >= LEAST_COST && cost <= MOST_COST ? cost : undefined;
}

/** A hash that takes as long to check as any of this cost, and of which nobody knows a password. */
export function dummyHash(cost: number): string {
  return `$2b$${String(cost).padStart(2, '0')}$${'.'.repeat(53)}`;
}

/**
 * Whether a password that somebody sent is to be checked at all. Two passwords that agree up to a NUL, or in their
 * first 72 bytes, are one to bcrypt. The first is refused, as nothing sends it by honest means; the second must not be:
 * other programs make hashes of long passwords, and clients that log in with them are right to.
 */
export function isCheckable(password: string): boolean {
  return Buffer.byteLength(password) <= MOST_BYTES_ASKED && !password.includes('\0');
}

// oxlint-disable-next-line no-control-regex -- control characters are what is looked for
const CONTROL = /[\u0000-\u001F\u007F]/;

/** What keeps a password from being stored, as a half sentence; undefined when nothing does. */
export function faultOf(password: string): string | undefined {
  if (password === '') return 'is empty';
  // RFC 7617 §2: clients cannot send them.
  if (CONTROL.test(password)) return 'holds a control character, such as a line end or a tab';
  const bytes = Buffer.byteLength(password);
  if (bytes <= MOST_BYTES) return undefined;
  return `has ${bytes} bytes, and bcrypt looks at the first ${MOST_BYTES} only; take a shorter one`;
}

/**
 * The hash to store for a password. Runs on the caller's thread, for up to 100 ms at a time: for commands, and for
 * what is done once.
 * @throws RangeError for a password with a fault, or a cost that is not taken
 */
export async function hashPassword(password: string, cost = DEFAULT_COST): Promise<string> {
  const fault = faultOf(password);
  if (fault !== undefined) throw new RangeError(`the password ${fault}`);
  if (!Number.isInteger(cost) || cost < LEAST_COST || cost > MOST_COST) {
    throw new RangeError(`the cost is ${cost}; it can be ${LEAST_COST} to ${MOST_COST}`);
  }
  return await hash(password, cost);
}
