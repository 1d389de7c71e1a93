import { readFileSync } from 'node:fs';
import { eventually } from '../harness/waiting.ts';

/** The processes that a process has made and that still run, in the order of their making. */
export function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1');
    return text.split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/** Bytes of a process that are in memory. @throws Error when it has ended */
export function residentBytes(pid: number): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
  if (kilobytes === undefined) throw new Error(`process ${pid} has ended`);
  return Number(kilobytes) * 1024;
}

/** All processes below one, however deep. */
export function descendantsOf(pid: number): number[] {
  return childrenOf(pid).flatMap((child) => [child, ...descendantsOf(child)]);
}

/**
 * Waits until processes have ended, whether or not anybody has asked how. A group that is killed ends one by one.
 * @throws Error when one still runs after a minute
 */
export async function untilEnded(pids: readonly number[]): Promise<void> {
  const running = () => pids.filter((pid) => isRunning(pid));
  await eventually('their end', running, (left) => left.length === 0);
}

function isRunning(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}
