import { readdirSync, readFileSync } from 'node:fs';

/** Kernel clock ticks a second in /proc/PID/stat: 100 on every Linux that Node and Bun run on. */
const TICKS_PER_SECOND = 100;

interface ProcessStat {
  readonly pid: number;
  readonly parent: number;
  /** User and system time of the process and of its children that it has waited for, in seconds. */
  readonly cpuSeconds: number;
}

/** Memory of one process, in bytes. */
export interface ProcessMemory {
  readonly pid: number;
  /** Everything resident, with the pages of the executable that other processes may share. */
  readonly resident: number;
  /** The part that is the process's own. */
  readonly anonymous: number;
}

function readStat(pid: number): ProcessStat | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined; // it ended since the folder was listed
  }
  // The command in field 2 may hold spaces and brackets: count from its last bracket.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const at = (field: number): number => Number(fields[field - 3] ?? 0);
  const ticks = at(14) + at(15) + at(16) + at(17);
  return { pid, parent: at(4), cpuSeconds: ticks / TICKS_PER_SECOND };
}

/** `root` and all its living descendants, as the kernel shows them now; empty when `root` has ended. */
function treeOf(root: number): ProcessStat[] {
  const children = new Map<number, ProcessStat[]>();
  let top: ProcessStat | undefined;
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = readStat(Number(name));
    if (stat === undefined) continue;
    if (stat.pid === root) top = stat;
    const siblings = children.get(stat.parent);
    if (siblings === undefined) children.set(stat.parent, [stat]);
    else siblings.push(stat);
  }
  const found = top === undefined ? [] : [top];
  for (const process of found) found.push(...(children.get(process.pid) ?? []));
  return found;
}

/** The process ids of `root` and its living descendants. */
export function processIds(root: number): number[] {
  return treeOf(root).map((process) => process.pid);
}

/** CPU time that `root`, its descendants and their reaped children have used so far, in seconds (steps of 10 ms). */
export function cpuSeconds(root: number): number {
  return treeOf(root).reduce((sum, process) => sum + process.cpuSeconds, 0);
}

/** The memory of each process of the tree under `root`, from /proc/PID/status. */
export function memoryOf(root: number): ProcessMemory[] {
  return processIds(root).flatMap((pid) => {
    let text: string;
    try {
      text = readFileSync(`/proc/${pid}/status`, 'latin1');
    } catch {
      return [];
    }
    const kilobytes = (key: string): number =>
      Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0);
    return [{ pid, resident: kilobytes('VmRSS') * 1024, anonymous: kilobytes('RssAnon') * 1024 }];
  });
}
