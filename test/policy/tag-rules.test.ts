/** Immutable and protected tags: what they refuse, to whom it is told and how, and that nobody comes in between. */
import { describe, expect, test } from 'bun:test';
import type { Digest } from '../../src/oci/digest.ts';
import type { Repository } from '../../src/oci/registry.ts';
import { loaded, minimal } from '../config/config-file.ts';
import { startRegistry, type TestRegistry } from '../auth/registry.ts';
import { imageBytes, OCI_MANIFEST, pushBlob, pushImage, sha256 } from '../store/content.ts';
import { nameOf, refusalOf, tagOf } from '../store/subject.ts';
import { guarded, rulesOf } from './registry.ts';

const LATEST = { protected: [{ tags: ['latest'] }] };
const RELEASES = { immutable: [{ tags: ['v*'], except: ['*-dev'] }] };

/** Pushes another image each time. */
function push(repository: Repository, ...tags: readonly string[]): Promise<{ readonly digest: Digest }> {
  number += 1;
  return pushImage(repository, tags, { annotations: { number: String(number) } });
}
let number = 0;

describe('patterns', () => {
  const rules = rulesOf({
    immutable: [{ repositories: ['prod/*', 'base'], tags: ['v*', '1.*'], except: ['*-dev'] }],
    protected: [{ tags: ['latest', 'v*'] }],
  });
  test.each([
    ['prod/app', 'v1', 'immutable'],
    ['prod/a/b', '1.0', 'immutable'],
    ['prod/app', 'v1-dev', 'protected'],
    ['prod/app', 'x', undefined],
    ['base', 'v1', 'immutable'],
    ['base/x', 'v1', 'protected'],
    ['base/x', 'latest', 'protected'],
    ['team', '1.0', undefined],
  ] as const)('%s:%s is %s', (name, tag, state) => {
    expect(rules.of(nameOf(name))?.stateOf(tagOf(tag))).toBe(state);
  });

  test('a repository that no rule names has none', () => {
    const none = rulesOf({ immutable: [{ repositories: ['prod/*'] }] });
    expect(none.of(nameOf('team'))).toBeUndefined();
  });
});

describe('immutable', () => {
  test('a tag is made once; the same digest can be pushed again, another one cannot', async () => {
    const { repository } = guarded(RELEASES);
    const first = await pushImage(repository(), ['v1']);
    await pushImage(repository(), ['v1']);
    expect(await refusalOf(push(repository(), 'v1'))).toBe('DENIED 409');
    expect(await repository().tags.resolve(tagOf('v1'))).toBe(first.digest);
    const moved = await push(repository(), 'v1-dev');
    const again = await push(repository(), 'v1-dev');
    expect(moved.digest).not.toBe(again.digest);
  });

  test('of several tags all move or none', async () => {
    const { repository } = guarded(RELEASES);
    const first = await push(repository(), 'a', 'v1', 'b');
    expect(await refusalOf(push(repository(), 'new', 'a', 'v1', 'b'))).toBe('DENIED 409');
    const { items } = await repository().tags.list({ limit: 10 });
    expect(items.map(String)).toEqual(['a', 'b', 'v1']);
    for (const tag of items) expect(await repository().tags.resolve(tag)).toBe(first.digest);
  });

  test('it is not deleted: not alone, not with its manifest, not with its repository', async () => {
    const { repository } = guarded(RELEASES);
    const { digest } = await push(repository(), 'v1', 'also');
    expect(await refusalOf(repository().tags.delete(tagOf('v1')))).toBe('DENIED 409');
    expect(await refusalOf(repository().manifests.delete(digest))).toBe('DENIED 409');
    expect(await refusalOf(repository().delete())).toBe('DENIED 409');
    for (const tag of ['v1', 'also']) expect(await repository().tags.resolve(tagOf(tag))).toBe(digest);
    await repository().tags.delete(tagOf('also'));
    expect(await refusalOf(repository().tags.delete(tagOf('v9')))).toBe('MANIFEST_UNKNOWN');
  });

  test('in several processes at once one push makes it, and nobody moves it after that', async () => {
    const { repository, another } = guarded(RELEASES);
    await pushBlob(repository(), '{}');
    for (let round = 0; round < 20; round += 1) {
      const tags = ['x', `v${round}`].map(tagOf);
      const outcomes = await Promise.all(
        [1, 2, 3].map(async (by) => {
          const bytes = imageBytes({ annotations: { by: `${by} ${round}` } });
          const put = another().manifests.put({ bytes, mediaType: OCI_MANIFEST, tags });
          return { digest: sha256(bytes), told: await refusalOf(put) };
        }),
      );
      const made = outcomes.filter(({ told }) => told.startsWith('done'));
      expect(outcomes.map(({ told }) => told).filter((told) => told === 'DENIED 409')).toHaveLength(2);
      for (const tag of tags)
        expect([await repository().tags.resolve(tag)]).toEqual([made[0]?.digest as Digest]);
    }
  });
});

describe('protected', () => {
  test('it is moved, and not deleted', async () => {
    const { repository } = guarded(LATEST);
    await push(repository(), 'latest');
    const { digest } = await push(repository(), 'latest', 'other');
    expect(await repository().tags.resolve(tagOf('latest'))).toBe(digest);
    expect(await refusalOf(repository().tags.delete(tagOf('latest')))).toBe('DENIED 409');
    expect(await refusalOf(repository().manifests.delete(digest))).toBe('DENIED 409');
    expect(await refusalOf(repository().delete())).toBe('DENIED 409');
    await repository().tags.delete(tagOf('other'));
  });

  test('what it pointed at before can be deleted', async () => {
    const { repository } = guarded(LATEST);
    const first = await push(repository(), 'latest', 'old');
    await push(repository(), 'latest');
    expect((await repository().manifests.delete(first.digest)).map(String)).toEqual(['old']);
  });
});

describe('by HTTP', () => {
  const headers = { 'content-type': OCI_MANIFEST };
  const CONFIG = ['tags:', '  immutable: [{tags: v*}]', '  protected: [{repositories: a, tags: latest}]'];

  async function put(registry: TestRegistry, reference: string, mark: string): Promise<Response> {
    await registry.send(`/v2/a/blobs/uploads/?digest=${sha256('{}')}`, { method: 'POST', body: '{}' });
    const body = imageBytes({ annotations: { mark } });
    const digest = sha256(body);
    const path = `/v2/a/manifests/${reference.replace('DIGEST', digest)}`;
    return registry.send(path, { method: 'PUT', headers, body });
  }

  test('CVE-2026-31801: no tag is moved under another name of the request, ?tag= or a precondition', async () => {
    const registry = await startRegistry(...CONFIG);
    const first = await put(registry, 'v1', 'first');
    expect(first.status).toBe(201);
    for (const reference of ['v1', 'DIGEST?tag=v1', 'DIGEST?tag=free&tag=v1', 'DIGEST?tag=v1&tag=free']) {
      const answer = await put(registry, reference, reference);
      const body: unknown = await answer.json();
      expect([reference, answer.status, body]).toEqual([
        reference,
        409,
        {
          errors: [
            {
              code: 'DENIED',
              message: expect.stringContaining('The repository has enabled tag immutability'),
              detail: { tag: 'v1', digest: first.headers.get('docker-content-digest') },
            },
          ],
        },
      ]);
    }
    expect((await registry.send('/v2/a/manifests/free')).status).toBe(404);
    expect((await put(registry, 'DIGEST?tag=v1&tag=free', 'first')).status).toBe(201);
    // "latest" is no special name.
    expect((await put(registry, 'latest', 'one')).status).toBe(201);
    expect((await put(registry, 'latest', 'two')).status).toBe(201);
    const deleted = await registry.send('/v2/a/manifests/latest', { method: 'DELETE' });
    expect([deleted.status, await deleted.text()]).toEqual([
      409,
      expect.stringContaining('the tag latest is protected: it cannot be deleted'),
    ]);
  });

  test('other rules are taken up while it runs', async () => {
    const registry = await startRegistry(...CONFIG);
    await put(registry, 'v1', 'first');
    registry.app.changeTagRules(await loaded(minimal('tags: {immutable: [{tags: latest}]}')));
    expect((await put(registry, 'v1', 'second')).status).toBe(201);
    await put(registry, 'latest', 'first');
    expect((await put(registry, 'latest', 'second')).status).toBe(409);
  });
});
