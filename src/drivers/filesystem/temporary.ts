/**
 * Names for files that are being written. They live in one folder of the root, so that what a crash leaves
 * behind is found at once. A name tells its maker: `<host>.<pid>.<start>.<counter>`.
 */
import { mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { createHash } from 'node:crypto';
import { join } from 'node:path';

/** Older leftovers of other machines are removed; in milliseconds. A file still written to is younger. */
const ABANDONED_AFTER = 24 * 3600_000;

/**
 * Where process numbers mean the same: the machine, and on Linux the namespace of its processes, since two containers
 * can share a host's name and still not see each other's processes.
 */
function processSpace(): string {
  try {
    return `${hostname()} ${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    return hostname();
  }
}

const HOST = createHash('sha256').update(processSpace()).digest('hex').slice(0, 12);

/**
 * When a living process of this machine began, in clock ticks since boot; '0' where the system does not tell. One
 * that has ended but whose parent has not asked how (common in containers) lives no more.
 */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : (fields[19] ?? '0');
  } catch {
    return undefined;
  }
}

const OWN_START = startOf(process.pid) ?? '0';

let counter = 0;

/** A name that no other process and no other call gives. */
export function temporaryName(): string {
  counter += 1;
  return `${HOST}.${process.pid}.${OWN_START}.${counter}`;
}

/** Removes what processes that are no more left in the folder, which is made if it is missing. */
export function sweepTemporary(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (isAbandoned(name, path)) rmSync(path, { force: true, recursive: true });
  }
}

function isAbandoned(name: string, path: string): boolean {
  const [host, pid, start] = name.split('.');
  if (host === HOST && start !== '0') return startOf(Number(pid)) !== start;
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats !== undefined && Date.now() - stats.mtimeMs > ABANDONED_AFTER;
}
