/** The section `garbage_collector`, as it is written, and what all sections of upkeep have in common. */
import * as v from 'valibot';
import type { WindowConfig } from './config.ts';
import { flag, integer, longDuration, textThat } from './scalars.ts';

const MINUTES_OF_DAY = 24 * 60;

/**
 * A time of day such as `01:00-05:00`, or `22:00-04:00` over midnight, in the local time of the server.
 * @returns undefined when it is none, or empty
 */
export function parseWindow(typed: string): WindowConfig | undefined {
  const [, fromHour, fromMinute, toHour, toMinute] =
    /^(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})$/.exec(typed.trim()) ?? [];
  const from = minuteOfDay(fromHour, fromMinute);
  const to = minuteOfDay(toHour, toMinute);
  if (from === undefined || to === undefined || from === MINUTES_OF_DAY || from === to) return undefined;
  return { from, to };
}

/** `24:00` is the end of a day. */
function minuteOfDay(hour: string | undefined, minute: string | undefined): number | undefined {
  const total = Number(hour) * 60 + Number(minute);
  return Number(minute) < 60 && total <= MINUTES_OF_DAY ? total : undefined;
}

/** A window as `parseWindow` reads it. */
export function formatWindow({ from, to }: WindowConfig): string {
  return `${formatMinute(from)}-${formatMinute(to)}`;
}

function formatMinute(minute: number): string {
  return `${String(Math.floor(minute / 60)).padStart(2, '0')}:${String(minute % 60).padStart(2, '0')}`;
}

/** When a job runs by itself: two settings that every section of upkeep has. */
export const timetable = {
  interval: v.nullish(longDuration(1)),
  window: v.nullish(textThat('a time of day such as "01:00-05:00"', parseWindow)),
};

/** Objects in a second; 0 for as many as can be. */
export const objectRate = () => integer(0, 10_000_000);

/** Online garbage collection. */
export const garbageCollectorSchema = v.object({
  enabled: v.nullish(flag()),
  ...timetable,
  remove_untagged: v.nullish(flag()),
  grace: v.nullish(longDuration()),
  rate: v.nullish(objectRate()),
});
