/** What retention rules keep and let go: by example, and by random rules against an oracle too simple to be wrong. */
import { afterEach, describe, expect, setSystemTime, test } from 'bun:test';
import * as fc from 'fast-check';
import { MemoryDriver } from '../../src/drivers/memory.ts';
import type { Digest } from '../../src/oci/digest.ts';
import type { RepositoryName } from '../../src/oci/name.ts';
import { blobKey, PULLS } from '../../src/store/layout.ts';
import { PullNotes } from '../../src/store/pull-notes.ts';
import {
  type KeepOptions,
  RetentionRules,
  type RetentionRuleOptions,
} from '../../src/upkeep/retention-rules.ts';
import { compareVersions, versionOf } from '../../src/upkeep/retention-versions.ts';
import { retention, type RetentionOptions } from '../../src/upkeep/retention.ts';
import { LocalRegistry } from '../../src/store/local-registry.ts';
import { Objects } from '../../src/store/objects.ts';
import { tagsOf } from '../../src/store/tags.ts';
import { failureOf } from '../harness/failure-of.ts';
import { pushImage } from '../store/content.ts';
import { RULES, tagOf } from '../store/subject.ts';
import { contextOf } from './scrubbing.ts';

const HOUR = 3600_000;
const DAY = 24 * HOUR;
const NOW = Date.UTC(2026, 5, 1);
const APP = 'ci/app' as RepositoryName;

/** A storage whose clock the test moves, and its registry. */
function openStore() {
  let now = NOW - 100 * DAY;
  const driver = new MemoryDriver(() => now);
  const registry = new LocalRegistry(driver, RULES);
  return {
    driver,
    registry,
    now: () => now,
    at: (time: number) => void (now = time),
    /** Pushes a tag so many days before `NOW`. */
    async push(tag: string, daysAgo: number, content = tag, name = APP): Promise<Digest> {
      now = NOW - daysAgo * DAY;
      return (await pushImage(registry.repository(name), [tag], { layers: [content] })).digest;
    },
    async tags(name = APP): Promise<readonly string[]> {
      const tags: string[] = [];
      for await (const tag of tagsOf(new Objects(driver), name)) tags.push(tag);
      return tags;
    },
    async apply(
      rules: readonly RetentionRuleOptions[],
      more: Partial<RetentionOptions> = {},
      through = driver,
    ) {
      now = NOW;
      const context = contextOf(through);
      const summary = await retention(context, {
        dryRun: false,
        rules: new RetentionRules(rules),
        guarded: () => undefined,
        isCached: () => false,
        collector: { isEnabled: true, graceMs: DAY },
        now: () => now,
        ...more,
      });
      return { summary, items: context.items, gone: context.items.map(({ tag }) => String(tag)) };
    },
  };
}

describe('retention', () => {
  test('the newest ten, releases for ever, pull requests for two weeks', async () => {
    const store = openStore();
    for (let build = 1; build <= 15; build += 1) await store.push(`build-${build}`, 60 - build);
    await store.push('v1.0', 90);
    await store.push('pr-1', 15);
    await store.push('pr-2', 13);
    const rules: RetentionRuleOptions[] = [
      {
        repositories: ['ci/*'],
        keep: [
          { tags: ['v*'] },
          { tags: ['build-*'], newest: 10 },
          { tags: ['pr-*'], pushedWithinMs: 14 * DAY },
        ],
      },
      { repositories: ['*'], keep: [{ newest: 0 }] },
    ];
    const wouldGo = await store.apply(rules, { dryRun: true });
    expect(wouldGo.gone).toEqual(['build-1', 'build-2', 'build-3', 'build-4', 'build-5', 'pr-1']);
    expect(wouldGo.summary).toEqual({ repositories: 1, tags: 18, goes: 6, dryRun: true });
    expect(await store.tags()).toHaveLength(18);
    const { gone, summary, items } = await store.apply(rules);
    expect([gone, summary]).toEqual([wouldGo.gone, { repositories: 1, tags: 18, deleted: 6 }]);
    expect(items.at(-1)).toMatchObject({
      what: 'tag',
      repository: APP,
      tag: 'pr-1',
      deleted: true,
      why:
        'rule 1: keep 1 (tags "v*"): does not name it; keep 2 (newest 10 of tags "build-*"): does not name it; ' +
        'keep 3 (pushed within 14d of tags "pr-*"): pushed 15d ago, 2026-05-17T00:00Z',
    });
    expect(await store.tags()).toHaveLength(12);
    expect((await store.apply(rules)).gone).toEqual([]);
  });

  test('explains each tag', async () => {
    const store = openStore();
    for (const [tag, days] of [
      ['v1.9', 9],
      ['v1.10', 30],
      ['v1.10-rc.1', 2],
      ['nightly', 3],
    ] as const)
      await store.push(tag, days);
    const rules = [{ repositories: [APP], delete: ['v*'], keep: [{ newest: 1, by: 'version' as const }] }];
    const { items } = await store.apply(rules, { explain: true });
    expect(items.map(({ tag, stays = false, why }) => [tag, stays, why])).toEqual([
      ['nightly', true, 'rule 1: delete does not name it'],
      ['v1.10', true, 'rule 1, keep 1 (1 highest versions of all tags): it is number 1 of 3'],
      ['v1.10-rc.1', false, 'rule 1: keep 1 (1 highest versions of all tags): it is number 2 of 3'],
      ['v1.9', false, 'rule 1: keep 1 (1 highest versions of all tags): it is number 3 of 3'],
    ]);
    const one = await store.apply(rules, { explain: true, repository: APP, tag: tagOf('v1.9') });
    expect(one.gone).toEqual(['v1.9']);
    const guarded = (_: RepositoryName, tag: string) => (tag === 'v1.9' ? 'it is immutable' : undefined);
    expect((await store.apply(rules, { explain: true, guarded })).items[3]).toMatchObject({
      stays: true,
      why: 'it is immutable',
    });
    expect((await store.apply([], { explain: true })).items[0]).toMatchObject({
      why: 'no rule names the repository',
    });
    expect((await store.apply(rules, { isCached: () => true })).gone).toEqual([]);
    expect(await store.tags()).toHaveLength(4);
  });

  test('tells of manifests without a tag, and leaves them to the collector', async () => {
    const store = openStore();
    const old = await store.push('v1', 10, 'old');
    const recent = await store.push('v1', 2, 'recent');
    await store.push('v1', 1, 'new');
    const rules = [{ repositories: ['ci/*'], keep: [], untaggedAfterMs: 7 * DAY }];
    const { items, summary } = await store.apply(rules, { explain: true, repository: APP });
    const untagged = Object.fromEntries(
      items.flatMap(({ what, digest, goes, why }) =>
        what === 'untagged' ? [[String(digest), [goes, why]]] : [],
      ),
    );
    expect(untagged).toEqual({
      [old]: [true, 'rule 1, untagged 7d: no tag leads to it; the collector removes it when it runs'],
      [recent]: [undefined, 'rule 1, untagged 7d: no tag leads to it; the collector removes it in 5d'],
    });
    expect(summary).toEqual({ repositories: 1, tags: 1, goes: 0, untagged: 2, dryRun: true });
    expect((await store.apply(rules, { dryRun: true })).items).toHaveLength(2);
    expect((await store.apply(rules)).items).toEqual([]);
    for (const tag of [undefined, tagOf('none')]) {
      const asked = {
        explain: true,
        ...(tag && { tag }),
        repository: (tag ? APP : 'ci/none') as RepositoryName,
      };
      const refused = await failureOf(store.apply(rules, asked));
      expect([refused.name, refused.message]).toEqual([
        'JobRefused',
        expect.stringContaining(`${asked.repository}${tag ? ':none' : ''}: there is no such`),
      ]);
    }
  });

  test('a tag that is pushed between the decision and the deletion stays, also with what it had', async () => {
    const rules = [{ repositories: ['*'], keep: [{ pushedWithinMs: DAY }] }];
    for (const content of ['same', 'other']) {
      const store = openStore();
      await store.push('old', 50, 'same');
      await store.push('older', 60);
      // Just before the lock is taken.
      let pushes = 0;
      const driver = new Proxy(store.driver, {
        get(target, name) {
          const value: unknown = Reflect.get(target, name, target);
          if (typeof value !== 'function') return value;
          const call = value.bind(target) as (...args: unknown[]) => unknown;
          if (name !== 'write') return call;
          return async (key: string, ...args: unknown[]) => {
            if (key.endsWith('_locks/old') && pushes++ === 0) await store.push('old', 0, content);
            return call(key, ...args);
          };
        },
      });
      const { gone } = await store.apply(rules, {}, driver);
      expect([content, pushes > 0, gone]).toEqual([content, true, ['older']]);
      expect(await store.tags()).toEqual(['old']);
    }
  });

  test('signatures go with their image, and not by their age', async () => {
    const store = openStore();
    const kept = await store.push('v1', 50);
    const tagFor = (digest: Digest, suffix: string) => `${digest.replace(':', '-')}${suffix}`;
    const gone = `sha256:${'d'.repeat(64)}` as Digest;
    for (const suffix of ['', '.sig', '.att', '.sbom']) await store.push(tagFor(kept, suffix), 90, suffix);
    await store.push(tagFor(gone, '.sig'), 90);
    await store.push(tagFor(gone, '.new'), 0.5);
    // Signatures of images elsewhere.
    await store.push(tagFor(gone, '.sig'), 90, 'apart', 'ci/signatures' as RepositoryName);
    const rules = [{ repositories: ['*'], keep: [{ tags: ['v*'] }, { newest: 1 }] }];
    expect((await store.apply(rules)).gone).toEqual([tagFor(gone, '.sig')]);
    await store.driver.delete([blobKey(kept)]);
    const after = (await store.apply(rules)).gone;
    expect(after).toEqual(['', '.att', '.sbom', '.sig'].map((suffix) => tagFor(kept, suffix)));
    expect(await store.tags('ci/signatures' as RepositoryName)).toHaveLength(1);
  });
});

describe('pulls', () => {
  afterEach(() => void setSystemTime());

  test('what is pulled stays; what nobody could have noted counts as pulled', async () => {
    const store = openStore();
    const objects = new Objects(store.driver);
    const rules = [{ repositories: ['*'], keep: [{ pulledWithinMs: 10 * DAY }] }];
    const used = await store.push('used', 50);
    await store.push('unused', 50);
    await store.push('new', 5);
    expect((await store.apply(rules, { dryRun: true })).gone).toEqual([]);
    const noteAt = async (daysAgo: number, ...digests: Digest[]) => {
      store.at(NOW - daysAgo * DAY);
      setSystemTime(store.now());
      const notes = new PullNotes(objects, () => true);
      for (const digest of digests) notes.note(APP, digest);
      await notes.write();
      notes.stop();
    };
    for (const daysAgo of [40, 39.5, 39]) await noteAt(daysAgo);
    // Then nobody was there to note anything.
    for (let daysAgo = 9.5; daysAgo > 0; daysAgo -= 0.5)
      await noteAt(daysAgo, ...(daysAgo === 8 ? [used] : []));
    expect((await store.apply(rules, { dryRun: true })).gone).toEqual([]);
    const within = (days: number) => [{ repositories: ['*'], keep: [{ pulledWithinMs: days * DAY }] }];
    expect((await store.apply(within(9), { dryRun: true })).gone).toEqual(['unused']);
    expect((await store.apply(within(7), { dryRun: true })).gone).toEqual(['unused', 'used']);
    // Two pulls within an hour are noted once; the note goes with the manifest.
    await noteAt(7.99, used);
    const notes = async () => {
      const found: string[] = [];
      for await (const { key, modified } of store.driver.list(`${PULLS}ci/`))
        found.push(`${key.slice(-6)} ${(NOW - modified) / DAY}`);
      return found;
    };
    expect(await notes()).toEqual([`${used.slice(-6)} 8`]);
    await store.registry.repository(APP).manifests.delete(used);
    await store.apply(within(9));
    expect([await store.tags(), await notes()]).toEqual([['new'], []]);
  });
});

test('manifests without a tag go by the first rule that names their repository', () => {
  const rules = new RetentionRules([
    { repositories: ['ci/golden'], keep: [] },
    { repositories: ['ci/*'], keep: [], untaggedAfterMs: 7 },
  ]);
  const untagged = ['ci/app', 'ci/golden', 'other'].map((name) =>
    rules.untaggedAfterMs(name as RepositoryName),
  );
  expect(untagged).toEqual([7, undefined, undefined]);
  expect(rules.needsPulls).toBe(false);
});

test('versions in their order', () => {
  const ordered = [
    '0.9',
    'v1.0.0-alpha',
    '1.0.0-alpha.1',
    '1.0.0-alpha.beta',
    '1.0.0-beta',
    '1.0.0-beta.2',
  ].concat('1.0.0-beta.11', '1.0.0-rc.1', 'v1', '1.0.1', '1.2', '1.10', '2', '20260101');
  const sorted = ordered
    .toReversed()
    .map((tag) => ({ tag, version: versionOf(tagOf(tag)) }))
    .sort((a, b) => (a.version && b.version ? compareVersions(a.version, b.version) : Number.NaN));
  expect(sorted.map(({ tag }) => tag)).toEqual(ordered);
  for (const tag of ['latest', 'v', '1.', '1.2.3.4.5', 'build-7', '1.0_1', '1.2-'])
    expect([tag, versionOf(tagOf(tag))]).toEqual([tag, undefined]);
});

const TAGS = ['v1', 'v1.1', 'v2-rc', 'v10', 'latest', 'pr-1', 'pr-2', 'build-1', 'build-2', 'build-10'];
const PATTERNS = ['*', 'v*', 'pr-*', 'build-*', '*1', 'latest', 'x*'];

const keepOptions: fc.Arbitrary<KeepOptions> = fc.record(
  {
    tags: fc.subarray(PATTERNS, { minLength: 1 }),
    except: fc.subarray(PATTERNS),
    newest: fc.nat(5),
    pushedWithinMs: fc.integer({ min: 0, max: 40 }).map((days) => days * DAY),
  },
  { requiredKeys: [] },
);

const ruleOptions: fc.Arbitrary<RetentionRuleOptions> = fc.record(
  {
    repositories: fc.subarray(['ci/*', 'ci/app', 'other', '*'], { minLength: 1 }),
    delete: fc.subarray(PATTERNS),
    keep: fc.array(keepOptions, { maxLength: 3 }),
  },
  { requiredKeys: ['repositories', 'keep'] },
);

/** Patterns of the test have their star at one end. */
function names(patterns: readonly string[], text: string): boolean {
  return patterns.some(
    (pattern) =>
      pattern === text ||
      (pattern.endsWith('*') && text.startsWith(pattern.slice(0, -1))) ||
      (pattern.startsWith('*') && text.endsWith(pattern.slice(1))),
  );
}

test('property: exactly those go that the first rule names to delete and that nothing keeps', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(ruleOptions, { maxLength: 3 }),
      fc.array(fc.tuple(fc.constantFrom(...TAGS), fc.integer({ min: 0, max: 40 })), { maxLength: 12 }),
      fc.subarray(TAGS, { maxLength: 2 }),
      async (rules, pushes, immutable) => {
        const store = openStore();
        const pushed = new Map<string, number>();
        for (const [tag, daysAgo] of pushes.toSorted((a, b) => b[1] - a[1])) {
          await store.push(tag, daysAgo);
          pushed.set(tag, daysAgo);
        }
        const guarded = (_: RepositoryName, tag: string) =>
          immutable.includes(tag) ? 'immutable' : undefined;
        const kept = (keep: KeepOptions, tag: string): boolean => {
          const { tags = ['*'], except = [], newest, pushedWithinMs } = keep;
          const named = [...pushed].filter(([one]) => names(tags, one) && !names(except, one));
          const age = pushed.get(tag) ?? 0;
          if (!named.some(([one]) => one === tag)) return false;
          const newer = named.filter(([one, days]) => days < age || (days === age && one > tag)).length;
          if (newest !== undefined && newer >= newest) return false;
          return pushedWithinMs === undefined || age * DAY <= pushedWithinMs;
        };
        const rule = rules.find(({ repositories }) => names(repositories, APP));
        const goes = [...pushed.keys()].filter((tag) => {
          if (rule === undefined || immutable.includes(tag)) return false;
          const mayGo = rule.delete ?? (rule.keep.length > 0 ? ['*'] : []);
          return names(mayGo, tag) && !rule.keep.some((keep) => kept(keep, tag));
        });
        const dry = await store.apply(rules, { dryRun: true, guarded });
        expect(dry.gone).toEqual(goes.sort());
        expect((await store.apply(rules, { guarded })).gone).toEqual(goes);
        expect(await store.tags()).toEqual([...pushed.keys()].filter((tag) => !goes.includes(tag)).sort());
      },
    ),
    { numRuns: 150 },
  );
});
