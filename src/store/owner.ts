/**
 * Who writes an upload or holds a lock: a name that any process of any machine can tell the dead from the living by.
 * Its form is `<host>-<pid>-<start>-<random>`; see claims.ts and locks.ts for its use.
 */
import { randomBytes } from 'node:crypto';
import { isRunning, PROCESS } from '../process-identity.ts';
import { patienceWith, silenceOf } from '../silence.ts';

/** A writer of another machine that has not touched its file for so long (milliseconds) is taken for dead. */
export const SILENT_FOR = 120_000;

const own = new Set<string>();

/** A new owner of this process. It is alive until `endOwner`. */
export function newOwner(): string {
  const owner = `${PROCESS}-${randomBytes(8).toString('hex')}`;
  own.add(owner);
  return owner;
}

export function endOwner(owner: string): void {
  own.delete(owner);
}

export type Life = 'alive' | 'dead' | 'unsure';

/**
 * Whether an owner can still be writing. `touched` is when its file last changed (milliseconds since 1970).
 * Certain for processes of this machine; others, as those of another container, and all on systems without /proc, are dead when
 * they have been silent for `silentFor` milliseconds, and those of other machines for as long more as clocks differ. `unsure` where that time
 * lies in the future: who asks again learns it (silence.ts).
 */
export function lifeOf(owner: string, touched: number, silentFor = SILENT_FOR): Life {
  const runs = owner.startsWith(`${PROCESS}-`) ? own.has(owner) : isRunning(owner);
  if (runs !== undefined) return runs ? 'alive' : 'dead';
  const silence = silenceOf(owner, touched, patienceWith(owner, silentFor));
  return silence === 'unsure' ? silence : silence === 'silent' ? 'dead' : 'alive';
}

/** Whether an owner may be alive, see `lifeOf`. */
export function isAlive(owner: string, touched: number, silentFor = SILENT_FOR): boolean {
  return lifeOf(owner, touched, silentFor) !== 'dead';
}
