/** When a job is due, and when its window is open. */
import { describe, expect, test } from 'bun:test';
import * as fc from 'fast-check';
import { type LastRun, nextRun, windowEnd } from '../../src/admin/timetable.ts';

const HOUR = 3_600_000;
const MINUTE = 60_000;
/** Local time of that minute on some day. */
const at = (hour: number, minute = 0, day = 10): number => new Date(2026, 4, day, hour, minute).getTime();

/** Clocks that change at different hours, by different steps, in both halves of the earth, and never. */
const ZONES = [
  'Europe/Berlin',
  'America/New_York',
  'America/Nuuk',
  'America/Santiago',
  'America/Havana',
  'Africa/Cairo',
  'Australia/Lord_Howe',
  'UTC',
];

/** The moments, to the hour, at which the clocks of the zone in force change in that year. */
function changesOf(year: number): number[] {
  const changes: number[] = [];
  const last = Date.UTC(year + 1, 0);
  for (let time = Date.UTC(year, 0); time < last; time += HOUR)
    if (new Date(time).getTimezoneOffset() !== new Date(time + HOUR).getTimezoneOffset())
      changes.push(time + HOUR);
  return changes;
}

describe('the timetable', () => {
  const night = { from: 22 * 60, to: 4 * 60 };
  const start = { startedAt: at(12), chance: 0.5, now: at(12) };
  const daily = { intervalMs: 24 * HOUR };

  test('does not begin at once, makes up for what was missed, and goes on with what was not ended', () => {
    expect(nextRun(daily, undefined, start)).toBe(at(12, 30));
    expect(nextRun({ intervalMs: 1000 }, undefined, start)).toBe(at(12) + 500);
    expect(nextRun(daily, { startedAt: at(3, 0, 1), isComplete: true }, start)).toBe(at(12) + 2.5 * MINUTE);
    expect(nextRun(daily, { startedAt: at(11, 50), isComplete: false }, start)).toBe(at(12) + 2.5 * MINUTE);
    expect(nextRun(daily, { startedAt: at(11), isComplete: true }, start)).toBe(at(11, 5, 11));
    // A clock that was set back by a year: as though nothing were known.
    expect(nextRun(daily, { startedAt: at(12) + 365 * 24 * HOUR, isComplete: true }, start)).toBe(at(12, 30));
  });

  test('keeps to its window, over midnight too', () => {
    expect(nextRun({ ...daily, window: night }, undefined, start)).toBe(at(22, 5));
    expect(nextRun({ ...daily, window: { from: 13 * 60, to: 13 * 60 + 8 } }, undefined, start)).toBe(
      at(13, 1),
    );
    expect(windowEnd(night, at(23))).toBe(at(4, 0, 11));
    expect(windowEnd(night, at(3, 59))).toBe(at(4));
    expect(windowEnd(night, at(4))).toBeUndefined();
    expect(windowEnd({ from: 0, to: 24 * 60 }, at(5))).toBe(at(0, 0, 11));
    const stopped: LastRun = { startedAt: at(23, 0, 9), isComplete: false };
    expect(nextRun({ ...daily, window: night }, stopped, { ...start, startedAt: at(1, 0, 1) })).toBe(
      at(22, 5),
    );
  });

  test('opens once a day and closes in time, also on the days on which the clocks change', () => {
    const here = process.env['TZ'];
    const step = 5;
    const minute = fc.integer({ min: 0, max: (24 * 60) / step - 1 }).map((steps) => steps * step);
    const anyWindow = fc.record({ from: minute, to: minute }).filter(({ from, to }) => from !== to);
    // Both ends around the hours in which clocks change.
    const atNight = anyWindow.map(({ from, to }) => ({ from: from % 240, to: to % 240 }));
    const windows = fc.oneof(
      anyWindow,
      atNight.filter(({ from, to }) => from !== to),
    );
    try {
      for (const zone of ZONES) {
        process.env['TZ'] = zone;
        const days = changesOf(2026);
        expect([zone, days.length]).toEqual([zone, zone === 'UTC' ? 0 : 2]);
        fc.assert(
          fc.property(windows, fc.constantFrom(...days, at(0)), (window, day) => {
            const length = (window.to - window.from + (window.to < window.from ? 24 * 60 : 0)) * MINUTE;
            const start = new Date(day).setHours(0, 0, 0, 0) - 3 * 24 * HOUR;
            let open: { begin: number; end: number } | undefined;
            const begins: number[] = [];
            for (let time = start; time < start + 6 * 24 * HOUR; time += step * MINUTE) {
              const end = windowEnd(window, time);
              if (end === undefined) {
                if (open !== undefined && time < open.end) throw new Error('closed before its end');
                continue;
              }
              if (open === undefined || time >= open.end) {
                open = { begin: time, end };
                begins.push(time);
              }
              if (end !== open.end || end <= time || end - open.begin > length + HOUR)
                throw new Error(
                  `from ${new Date(open.begin).toISOString()} until ${new Date(end).toISOString()}`,
                );
            }
            // The first may have been open already.
            const whole = begins.slice(1);
            expect(whole.length).toBeGreaterThanOrEqual(4);
            for (const [index, begin] of whole.slice(1).entries())
              expect(Math.abs(begin - (whole[index] ?? 0) - 24 * HOUR)).toBeLessThanOrEqual(HOUR);
            const due = nextRun({ intervalMs: HOUR, window }, undefined, {
              startedAt: day,
              chance: 0.99,
              now: day,
            });
            expect(windowEnd(window, due)).toBeGreaterThan(due);
            expect(due - day).toBeLessThanOrEqual(26 * HOUR);
          }),
          { numRuns: 25 },
        );
      }
      process.env['TZ'] = 'Europe/Berlin';
      const end = (from: number, time: string): string | undefined => {
        const known = windowEnd({ from, to: 150 }, Date.parse(time));
        return known === undefined ? undefined : new Date(known).toISOString().slice(0, 16);
      };
      expect(end(120, '2026-10-25T00:10Z')).toBe('2026-10-25T00:30');
      expect(end(120, '2026-10-25T01:10Z')).toBeUndefined();
      expect(end(22 * 60, '2026-10-25T00:10Z')).toBe('2026-10-25T00:30');
      expect(end(22 * 60, '2026-10-25T01:10Z')).toBeUndefined();
      // In spring 02:00 is 03:00.
      expect(end(120, '2026-03-29T01:10Z')).toBe('2026-03-29T01:30');
    } finally {
      if (here === undefined) delete process.env['TZ'];
      else process.env['TZ'] = here;
    }
  });

  test('is never in the past of its window, and never outside of it', () => {
    const minute = fc.integer({ min: 0, max: 24 * 60 - 1 });
    fc.assert(
      fc.property(
        fc.record({ from: minute, to: minute }).filter(({ from, to }) => from !== to),
        fc.integer({ min: 1, max: 40 * 24 * HOUR }),
        fc.integer({ min: 0, max: 60 * 24 * HOUR }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.option(fc.record({ ago: fc.integer({ min: 0, max: 90 * 24 * HOUR }), isComplete: fc.boolean() }), {
          nil: undefined,
        }),
        (window, intervalMs, since, chance, last) => {
          const startedAt = at(0, 0, 1);
          const now = startedAt + since;
          const run =
            last === undefined ? undefined : { startedAt: now - last.ago, isComplete: last.isComplete };
          const due = nextRun({ intervalMs, window }, run, { startedAt, chance, now });
          expect(due).toBeGreaterThanOrEqual(now);
          expect(windowEnd(window, due)).toBeGreaterThan(due);
        },
      ),
      { numRuns: 300 },
    );
  });
});
