/** Whose name it is, when two claim the same one (RFC 6762 §8.2, §9). */
import type { Answer } from 'dns-packet';
import { canonicalAddress, dataOf, ttlOf } from './message.ts';
import { type Announced, claims, hostOf, uniqueNames } from './records.ts';

/**
 * Whether somebody else says that a name of ours is his.
 * @param ours every address of this machine: on another link it may be announced to by us, too, and sent on by a router
 */
export function isTaken(
  announced: Announced,
  ours: ReadonlySet<string>,
  answers: readonly Answer[],
): boolean {
  const host = hostOf(announced.name).toLowerCase();
  const instances = new Map(
    announced.services.map(({ type, port }) => [`${announced.name}.${type}.local`.toLowerCase(), port]),
  );
  return answers.some((answer) => {
    if (ttlOf(answer) === 0) return false; // he says goodbye
    const name = answer.name.toLowerCase();
    if (answer.type === 'A' || answer.type === 'AAAA') {
      return name === host && !ours.has(canonicalAddress(answer.data));
    }
    if (answer.type !== 'SRV') return false;
    const port = instances.get(name);
    const { target, port: claimed } = answer.data;
    return port !== undefined && (port !== claimed || target.toLowerCase() !== host);
  });
}

/**
 * Whether somebody else who claims our name at the same time comes before us: who has the later records has the name
 * (RFC 6762 §8.2.1). The host's decide where he claims it too: decided name by name, both could have to give way.
 */
export function givesWay(announced: Announced, theirs: readonly Answer[]): boolean {
  const ours = claims(announced);
  for (const name of uniqueNames(announced)) {
    const of = (records: readonly Answer[]) =>
      records
        .filter((record) => record.name.toLowerCase() === name.toLowerCase())
        .map(comparable)
        .sort((a, b) => Buffer.compare(a, b));
    const [mine, other] = [of(ours), of(theirs)];
    if (other.length === 0) continue;
    for (let at = 0; at < Math.max(mine.length, other.length); at += 1) {
      const [a, b] = [mine[at], other[at]];
      const order = a === undefined ? -1 : b === undefined ? 1 : Buffer.compare(a, b);
      if (order !== 0) return order < 0;
    }
  }
  return false;
}

const TYPES: Readonly<Record<string, number>> = { A: 1, TXT: 16, AAAA: 28, SRV: 33 };

/** By class, which is the same for all, then type, then data. */
function comparable(record: Answer): Buffer {
  return Buffer.concat([Buffer.from([0, TYPES[record.type] ?? 255]), dataOf(record)]);
}
