/** What the collector keeps for its grace time or a push, until when it says that it does, and why. */
import { expect, test } from 'bun:test';
import { MemoryDriver } from '../../src/drivers/memory.ts';
import { linkKey, uploadPrefix } from '../../src/store/layout.ts';
import { linkBytes } from '../../src/store/objects.ts';
import { pushBlob, sha256 } from '../store/content.ts';
import { nameOf, newCase } from '../store/subject.ts';
import { collectOnce } from './collecting.ts';

const DAY = 24 * 60 * 60_000;

test('the layers of a push that is under way stay for a day', async () => {
  let clock = Date.now() - 2 * 60 * 60_000;
  const current = newCase(new MemoryDriver(() => clock));
  const repository = current.repository('team/app');
  await pushBlob(repository, 'a layer of two hours ago');
  const settings = { graceMs: 60_000, now: () => clock };
  clock = Date.now();
  const { id } = await repository.uploads.start();
  await repository.uploads.append(id, { body: new Blob(['the next one']).stream() });
  const busy = await collectOnce(current.driver, settings);
  expect(busy.items.map(({ what, why }) => [what, why])).toEqual([
    [
      'kept',
      'it is being pushed to: what is younger than a day stays until nobody has pushed for 1m; the same grace time frees it then',
    ],
  ]);
  const until = Date.parse(String(busy.items[0]?.['until']));
  expect(Math.abs(until - (clock + 60_000))).toBeLessThan(60_000);
  const daily = await collectOnce(current.driver, { ...settings, graceMs: DAY });
  const untilDaily = Date.parse(String(daily.items[0]?.['until']));
  expect(Math.abs(untilDaily - (clock + 22 * 60 * 60_000))).toBeLessThan(60_000);
  const nextDay = await collectOnce(current.driver, { ...settings, now: () => clock + DAY });
  expect(nextDay.items.map(({ what }) => what)).toContain('link');
});

test('what is kept goes at the time that is told, whatever keeps it, and no sooner', async () => {
  const reasons = new Set<string>();
  const app = nameOf('team/app');
  const keptAt = async (driver: MemoryDriver, graceMs: number, now: number) => {
    const { items } = await collectOnce(driver, { graceMs, dryRun: true, now: () => now });
    return items.find(({ what, links }) => what === 'kept' && links !== undefined);
  };
  for (const graceMs of [1000, 60_000, 120_000, 2 * DAY]) {
    for (const layers of [[0], [0, 500], [0, 30_000], [0, 90_000], [0, DAY - 1000]]) {
      for (const upload of [undefined, 200, 45_000, 100_000, DAY - 500, DAY + 60_000]) {
        const begun = Date.now() - 10 * DAY;
        let clock = begun;
        const driver = new MemoryDriver(() => clock);
        for (const after of layers) {
          clock = begun + after;
          const digest = sha256(`layer after ${after}`);
          await driver.write(linkKey(app, 'layers', digest), linkBytes(digest));
        }
        clock = begun + (upload ?? 0);
        if (upload !== undefined) await driver.write(`${uploadPrefix(app, 'u')}data`, new Uint8Array(1));
        clock = begun + Math.max(...layers, upload ?? 0) + 100;
        const kept = await keptAt(driver, graceMs, clock);
        if (kept === undefined) continue;
        const { until } = kept;
        const why = String(kept['why']);
        const about = `${graceMs} ${layers.join('+')} ${upload}: ${why}`;
        const end = Date.parse(String(until));
        expect([about, end > clock, (await keptAt(driver, graceMs, end - 1)) !== undefined]).toEqual([
          about,
          true,
          true,
        ]);
        expect([about, await keptAt(driver, graceMs, end)]).toEqual([about, undefined]);
        // Nobody is told to ask for the time that was asked for, or a longer one.
        expect([about, why.includes('--grace 1m')]).toEqual([about, graceMs > 60_000]);
        reasons.add(why.split(/[ :;]/, 3).join(' '));
      }
    }
  }
  expect([...reasons].sort()).toEqual(['it is being', 'younger than the']);
});
