/**
 * Names that tell, in any process of any machine that shares a storage, whether their maker still runs: of locks, of
 * files that are being written, of uploads that somebody is at. No contract of ours is needed to ask.
 */
import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/** The machine since it was started; undefined where that cannot be told. */
function bootOf(): string | undefined {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  } catch {
    return undefined;
  }
}

/** Two containers can share a host's name and a machine, and still not see each other's processes. */
function processNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return '';
  }
}

function shortened(text: string, digits: number): string {
  return createHash('sha256').update(text).digest('hex').slice(0, digits);
}

const BOOT = bootOf();

/** What has one clock: the machine since its start, and by its name also before and after. In hexadecimal digits. */
const CLOCKS = [shortened(BOOT ?? hostname(), 8), shortened(hostname(), 8)] as const;

/** Where process numbers mean the same. */
const HOST = CLOCKS.join('') + shortened(`${hostname()} ${BOOT ?? ''} ${processNamespace()}`, 12);

/** What cannot be told, as on a system without /proc: when a process began, and so whether it still runs. */
const UNKNOWN = 'x';

/**
 * Clock ticks since boot at which a process began: tells a process from a later one with the same number. One that
 * has ended but whose parent has not asked how (common in containers) is no more.
 * @returns undefined when there is none; `UNKNOWN` where there is one of which we may not know more
 */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
  } catch {
    return isThere(pid) ? UNKNOWN : undefined;
  }
}

/** Also of a process that /proc hides from us (`hidepid`, systemd's `ProtectProc`), as it does other users'. */
function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

const START = startOf(process.pid) ?? UNKNOWN;

/** This process: `<host>-<pid>-<start>`, of letters and digits. */
export const PROCESS = `${HOST}-${process.pid}-${START}`;

/**
 * Whether the process that a name begins with still runs; undefined where that cannot be told: it ran on another
 * machine, or before this one was started, or the system has no /proc, or hides the process.
 */
export function isRunning(name: string): boolean | undefined {
  const [host, pid, start] = name.split('-');
  if (host !== HOST || start === UNKNOWN || START === UNKNOWN) return undefined;
  if (pid === undefined || start === undefined || !/^\d+$/.test(pid)) return undefined;
  const found = startOf(Number(pid));
  return found === UNKNOWN ? undefined : found === start;
}

/** Whether a name is one of another machine, whose clock may differ from ours. Of none nothing is known. */
export function isOfAnotherClock(name: string): boolean {
  return name !== '' && !CLOCKS.some((clock, index) => name.startsWith(clock, index * clock.length));
}
