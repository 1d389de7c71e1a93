/** When a job is due: an interval, a time of day, and some chance, so that many servers do not begin at the same moment. */
import { isFuture } from '../silence.ts';

/** A time of day, in minutes since midnight, local time; over midnight where `to` is before `from`. */
export interface Window {
  readonly from: number;
  readonly to: number;
}

export interface Timetable {
  /** Milliseconds from the begin of one run to that of the next. */
  readonly intervalMs: number;
  readonly window?: Window | undefined;
}

/** The last run; times are milliseconds since 1970. */
export interface LastRun {
  readonly startedAt: number;
  /** Whether it came to its end; else there is something to go on with. */
  readonly isComplete: boolean;
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** A server that is restarted again and again must not look through its storage each time. */
const LONGEST_FIRST_WAIT = HOUR;
const LONGEST_RESUME_WAIT = 5 * MINUTE;
const MOST_JITTER = 10 * MINUTE;

/**
 * When the next run is to begin, in milliseconds since 1970. What was missed while no server ran is made up for once,
 * soon after the start, though not at once. `chance` is from 0 to 1.
 */
export function nextRun(
  { intervalMs, window }: Timetable,
  last: LastRun | undefined,
  { startedAt, chance, now }: { readonly startedAt: number; readonly chance: number; readonly now: number },
): number {
  const due = (): number => {
    // One that begins in the future was noted by a clock that was wrong: it must not keep the job from running until then.
    if (last === undefined || isFuture(last.startedAt, now))
      return startedAt + chance * Math.min(intervalMs, LONGEST_FIRST_WAIT);
    const soonest = startedAt + chance * Math.min(intervalMs, LONGEST_RESUME_WAIT);
    const before = Math.min(last.startedAt, now);
    const regular = before + intervalMs + chance * Math.min(intervalMs / 20, MOST_JITTER);
    return Math.max(soonest, last.isComplete ? regular : before);
  };
  return window === undefined ? due() : within(window, Math.max(now, due()), chance);
}

/** The time itself if it is in the window, else soon after the window's next begin. */
function within(window: Window, time: number, chance: number): number {
  if (windowEnd(window, time) !== undefined) return time;
  const { begin, end } = openings(window, time).find((opening) => opening.begin > time) ?? {
    begin: time,
    end: time,
  };
  return begin + chance * Math.min(MOST_JITTER, (end - begin) / 4);
}

/** When the window that the time is in ends; undefined when it is in none. */
export function windowEnd(window: Window, time: number): number | undefined {
  return openings(window, time).find(({ begin, end }) => begin <= time && time < end)?.end;
}

/**
 * When the window opens and closes on the days around the time, in order; by the calendar, as days have 23 to 25 hours. Of an
 * hour that comes twice its first time counts, so that a window opens once a day and closes the same night; what would begin in
 * an hour that is left out begins that much later.
 */
function openings({ from, to }: Window, time: number): readonly { begin: number; end: number }[] {
  const date = new Date(time);
  const at = (day: number, minute: number) =>
    new Date(date.getFullYear(), date.getMonth(), date.getDate() + day, 0, minute).getTime();
  const isOverMidnight = to < from;
  const minutes = isOverMidnight ? to + 24 * 60 - from : to - from;
  return [-1, 0, 1, 2].map((day) => {
    const begin = at(day, from);
    const end = at(isOverMidnight ? day + 1 : day, to);
    // Where the begin was put off past the end by an hour that is left out.
    return { begin, end: end > begin ? end : begin + minutes * MINUTE };
  });
}
