/** Counting anew: whatever happened to the ledger, afterwards it says what is there. quota-model.test.ts does it while others push and delete. */
import { describe, expect, test } from 'bun:test';
import { MemoryDriver } from '../../src/drivers/memory.ts';
import type { Digest } from '../../src/oci/digest.ts';
import { linkKey, trashedLinkKey } from '../../src/store/layout.ts';
import { linkedContent } from '../../src/store/linked-content.ts';
import { accountPrefix, blobMarksPrefix, withBooks } from '../../src/store/usage-books.ts';
import { AccountCounting } from '../../src/store/usage-counting.ts';
import { imageBytes, OCI_MANIFEST, pushBlob, sha256 } from '../store/content.ts';
import { nameOf, refusalOf, tagOf } from '../store/subject.ts';
import { watched } from '../store/watched-driver.ts';
import { DigestSet } from '../../src/upkeep/digest-set.ts';
import { usage } from '../../src/upkeep/usage.ts';
import { QuotaRules } from '../../src/oci/quota.ts';
import { contextOf, quotaCase } from './quota-case.ts';

const ACCOUNT = 't/*';
const RULES = [{ repositories: '{namespace}/*', bytes: 1000, maxRepositories: 50 }];
const A = nameOf('t/a');
const B = nameOf('t/b');

test('what was there before the quota is counted by the first push', async () => {
  const { inner, registry, book } = quotaCase(new MemoryDriver(), RULES);
  await pushBlob(inner.repository(A), 'x'.repeat(600));
  await pushBlob(inner.repository(B), 'x'.repeat(600));
  await pushBlob(inner.repository(nameOf('t2/a')), 'other');
  expect(await refusalOf(pushBlob(registry.repository(A), 'y'.repeat(401)))).toBe('DENIED 413');
  expect(await book(ACCOUNT)).toEqual({ bytes: 600, repositories: 0, reserved: 0 });
});

test('what was added and removed behind its back is found', async () => {
  const { inner, registry, book, recount, truth } = quotaCase(new MemoryDriver(), RULES);
  const gone = await pushBlob(registry.repository(A), 'g'.repeat(300));
  await pushBlob(inner.repository(B), 'b'.repeat(50));
  await inner.repository(A).blobs.delete(gone.digest);
  expect(await book(ACCOUNT)).toMatchObject({ bytes: 300, repositories: 0 });
  await recount(ACCOUNT);
  expect(await book(ACCOUNT)).toEqual({ ...(await truth(ACCOUNT)), reserved: 0 });
  // Its mark went too: pushed again, it counts again.
  await pushBlob(registry.repository(A), 'g'.repeat(300));
  expect(await book(ACCOUNT)).toMatchObject({ bytes: 350, repositories: 0 });
});

test('what lies in the trash of a repository counts, also where it comes back meanwhile', async () => {
  const { inner, objects, recount, book } = quotaCase(new MemoryDriver(), RULES);
  const { digest } = await pushBlob(inner.repository(A), 'trashed');
  const places = [trashedLinkKey(A, 'layers', digest), linkKey(A, 'layers', digest)] as const;
  await objects.move(places[1], places[0]);
  await recount(ACCOUNT);
  expect(await book(ACCOUNT)).toMatchObject({ bytes: 7 });
  const live = await pushBlob(inner.repository(A), 'live');
  const seen: Digest[] = [];
  for await (const one of linkedContent(objects, A)) {
    seen.push(one.digest);
    if (seen.length === 1) await objects.move(...places);
  }
  expect(seen).toEqual([live.digest, digest]);
});

test('a damaged ledger is counted anew by the next push', async () => {
  for (const damage of ['', '{"bytes":', '{"bytes":-1}', 'null']) {
    const { registry, driver, book } = quotaCase(new MemoryDriver(), RULES);
    await pushBlob(registry.repository(A), 'x'.repeat(600));
    await driver.write(`${accountPrefix(ACCOUNT)}book`, Buffer.from(damage));
    expect(await refusalOf(pushBlob(registry.repository(A), 'y'.repeat(401)))).toBe('DENIED 413');
    expect(await book(ACCOUNT)).toEqual({ bytes: 600, repositories: 0, reserved: 0 });
  }
});

test('a counting that was broken off holds up nothing, and the next one is right', async () => {
  const { registry, objects, book, recount, truth } = quotaCase(new MemoryDriver(), RULES);
  await pushBlob(registry.repository(A), 'before');
  const broken = new AccountCounting(objects, { account: ACCOUNT }, () => new DigestSet());
  await broken.begin();
  await pushBlob(registry.repository(B), 'meanwhile');
  expect(await book(ACCOUNT)).toMatchObject({ bytes: 15, repositories: 0 });
  await recount(ACCOUNT);
  // It wakes up again, after another one has taken over: it is not heard.
  await broken.end(true, new AbortController().signal);
  expect(await book(ACCOUNT)).toEqual({ ...(await truth(ACCOUNT)), reserved: 0 });
});

test('what is set aside by a process that has ended, or for long, is free', async () => {
  const { registry, objects, book } = quotaCase(new MemoryDriver(), RULES);
  await pushBlob(registry.repository(A), 'x');
  const quota = { account: ACCOUNT, namespace: 't' };
  const [host] = (await import('../../src/process-identity.ts')).PROCESS.split('-');
  await withBooks(objects, [quota], ([one]) => {
    const some = { bytes: 999, repository: A, isNew: false };
    one?.reserved.set('dead', { ...some, at: Date.now(), by: `${host ?? ''}-1-0` });
    one?.reserved.set('old', { ...some, at: Date.now() - 3_700_000, by: 'elsewhere-1-1' });
    return Promise.resolve();
  });
  await pushBlob(registry.repository(A), 'y'.repeat(900));
  expect(await book(ACCOUNT)).toEqual({ bytes: 901, repositories: 0, reserved: 0 });
});

describe('a crash at any step', () => {
  test('of a push leaves what a recount makes right, and nothing that cannot be pushed again', async () => {
    let steps = 0;
    for (let at = 0; ; at += 1) {
      const driver = new MemoryDriver();
      const { another, recount, book, truth } = quotaCase(driver, [{ repositories: 't/*', bytes: 100_000 }]);
      let step = 0;
      const crash = (_: string, key: string) => {
        if (!/_entrepot\/usage|_layers|revisions/.test(key)) return;
        step += 1;
        if (step > at) throw new Error('the process has ended');
      };
      const dying = another(watched(driver, { before: crash }));
      const outcome = await push(dying, 'content').then(
        () => 'done',
        () => 'ended',
      );
      await recount(ACCOUNT);
      expect({ at, ...(await book(ACCOUNT)) }).toEqual({
        at,
        ...(await truth(ACCOUNT)),
        reserved: expect.any(Number),
      });
      await push(another(), 'content');
      await push(another(), 'y'.repeat(400));
      expect({ at, ...(await book(ACCOUNT)) }).toMatchObject({ at, ...(await truth(ACCOUNT)) });
      steps = at;
      if (outcome === 'done' && step <= at) break;
    }
    expect(steps).toBeGreaterThan(30);
  }, 300_000);

  test('of a deletion or of a count leaves sums that miss nothing, and are right after a count', async () => {
    for (const what of ['deletion', 'count'] as const) {
      let isDone = false;
      for (let at = 0; !isDone; at += 1) {
        const driver = new MemoryDriver();
        const subject = quotaCase(driver, [{ repositories: 't/*', bytes: 100_000 }]);
        const { inner, another, recount, book, truth, registry } = subject;
        await push(registry, 'content');
        await pushBlob(registry.repository(B), 'content');
        await pushBlob(registry.repository(B), 'gone');
        if (what === 'count') {
          await inner.repository(B).blobs.delete(sha256('gone'));
          await pushBlob(inner.repository(B), 'come');
        }
        let step = 0;
        const dying = watched(driver, {
          before: (method) => {
            if (method === 'write' || method === 'delete' || method === 'move') step += 1;
            if (step > at) throw new Error('the process has ended');
          },
        });
        const work =
          what === 'deletion'
            ? another(dying).repository(A).delete()
            : quotaCase(dying, [{ repositories: 't/*', bytes: 100_000 }]).recount(ACCOUNT);
        await work.then(
          () => undefined,
          () => undefined,
        );
        isDone = step <= at;
        const rest = await book(ACCOUNT);
        const there = await truth(ACCOUNT);
        const known = there.bytes - (what === 'count' && rest.bytes < there.bytes ? 4 : 0);
        expect({ what, at, missing: Math.max(0, known - rest.bytes) }).toEqual({ what, at, missing: 0 });
        // What has a mark is in the sum: it is pushed again at no cost.
        expect({ what, at, bytes: rest.bytes }).toEqual({
          what,
          at,
          bytes: Math.max(rest.bytes, await markedBytes(subject)),
        });
        await recount(ACCOUNT);
        expect({ what, at, ...(await book(ACCOUNT)) }).toEqual({ what, at, ...there, reserved: 0 });
        expect(await markedBytes(subject)).toBe(there.bytes);
        if (at === 0) expect(isDone).toBe(false);
      }
    }
  }, 300_000);

  async function markedBytes({ objects }: ReturnType<typeof quotaCase>): Promise<number> {
    let bytes = 0;
    for await (const { key } of objects.driver.list(blobMarksPrefix(ACCOUNT)))
      bytes += Number(Buffer.from((await objects.bytes(key)) ?? []).toString());
    return bytes;
  }

  async function push(registry: ReturnType<typeof quotaCase>['registry'], layer: string): Promise<void> {
    const repository = registry.repository(A);
    await pushBlob(repository, '{}');
    await pushBlob(repository, layer);
    const bytes = imageBytes({ layers: [layer] });
    await repository.manifests.put({ bytes, mediaType: OCI_MANIFEST, tags: [tagOf('v1')] });
  }
});

test('usage tells what namespaces and quotas hold, and forgets accounts that no rule has any more', async () => {
  const { inner, registry, objects, book } = quotaCase(new MemoryDriver(), RULES);
  const shared = 's'.repeat(100);
  for (const name of ['t/a', 't/b', 'u/a', 'solo']) await pushBlob(inner.repository(nameOf(name)), shared);
  await pushBlob(registry.repository(A), 'own');
  const run = async (rules: QuotaRules, update: boolean, pattern?: (name: string) => boolean) => {
    const lines: unknown[] = [];
    const context = { ...contextOf(objects), report: (item: unknown) => void lines.push(item) };
    const options = { rules, update, isOwn: (name: string) => name !== 'solo' };
    const summary = await usage(context, { ...options, ...(pattern === undefined ? {} : { pattern }) });
    return { lines, summary };
  };
  const rules = new QuotaRules([...RULES, { repositories: '*b', maxRepositories: 7 }]);
  expect(await run(rules, false)).toEqual({
    lines: [
      { what: 'namespace', namespace: 't', repositories: 2, tags: 0, bytes: 103, shared: 100, limit: 1000 },
      { what: 'namespace', namespace: 'u', repositories: 1, tags: 0, bytes: 100, shared: 100, limit: 1000 },
      { what: 'quota', quota: 't/*', repositories: 0, bytes: 103, maxrepositories: 50, limit: 1000 },
      { what: 'quota', quota: '*b', repositories: 0, bytes: 100, maxrepositories: 7 },
      { what: 'quota', quota: 'u/*', repositories: 0, bytes: 100, maxrepositories: 50, limit: 1000 },
    ],
    summary: { repositories: 3, tags: 0, bytes: 103, quotas: 3 },
  });
  expect(await book('u/*')).toMatchObject({ bytes: 0 });
  expect((await run(rules, false, (name) => name.startsWith('t/'))).lines).toEqual([
    { what: 'repository', repository: 't/a', tags: 0, bytes: 103, shared: 100 },
    { what: 'repository', repository: 't/b', tags: 0, bytes: 100, shared: 100 },
  ]);
  await run(rules, true);
  expect(await book('u/*')).toMatchObject({ bytes: 100, repositories: 0 });
  // All that was in it is gone, and with it the namespace: the account is still looked at.
  await inner
    .repository(nameOf('u/a'))
    .blobs.delete((await pushBlob(inner.repository(nameOf('x/y')), shared)).digest);
  await run(rules, true);
  expect(await book('u/*')).toMatchObject({ bytes: 0, repositories: 0 });
  await run(new QuotaRules([{ repositories: 'u/*' }]), true);
  expect(await objects.exists(`${accountPrefix('t/*')}book`)).toBe(false);
  expect(await objects.exists(`${accountPrefix('u/*')}book`)).toBe(true);
});
