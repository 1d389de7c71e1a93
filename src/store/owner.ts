/**
 * Who writes an upload: a name that any process of any machine can tell the dead from the living by.
 * Its form is `<host>-<pid>-<start>-<random>`; see claims.ts for its use.
 */
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/** A writer of another machine that has not touched its file for so long (milliseconds) is taken for dead. */
export const SILENT_FOR = 120_000;

/**
 * Where process numbers mean the same: the machine since it was started, and on Linux the namespace of its processes,
 * since two containers can share a host's name and still not see each other's processes.
 */
function processSpace(): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
    return `${hostname()} ${boot} ${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    return hostname();
  }
}

const HOST = createHash('sha256').update(processSpace()).digest('hex').slice(0, 12);

/**
 * Clock ticks since boot at which a process began: tells a process from a later one with the same number. One that
 * has ended but whose parent has not asked how (common in containers) is no more.
 */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

const START = startOf(process.pid) ?? 'x';

const own = new Set<string>();

/** A new owner of this process. It is alive until `endOwner`. */
export function newOwner(): string {
  const owner = `${HOST}-${process.pid}-${START}-${randomBytes(8).toString('hex')}`;
  own.add(owner);
  return owner;
}

export function endOwner(owner: string): void {
  own.delete(owner);
}

/**
 * Whether an owner can still be writing. `touched` is when its file last changed (milliseconds since 1970).
 * Certain for processes of this machine; for others, and on systems without /proc, by `SILENT_FOR`.
 */
export function isAlive(owner: string, touched: number): boolean {
  const [host, pid, start] = owner.split('-');
  if (host === HOST && pid === String(process.pid) && start === START) return own.has(owner);
  if (host === HOST && start !== 'x' && START !== 'x') return startOf(Number(pid)) === start;
  return Date.now() - touched < SILENT_FOR;
}
