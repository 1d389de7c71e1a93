/** Deletion as requests: answers, switches, and what is kept of it in the audit log. */
import { expect, test } from 'bun:test';
import {
  BLOB,
  basic,
  HASH,
  MANIFEST,
  pushImage,
  sha256,
  startRegistry,
  type TestRegistry,
} from '../auth/registry.ts';

const headers = { authorization: basic('ann') };
const USERS = [`users: {ann: "${HASH}"}`, 'access: {pull: users, push: users, delete: users}'];
const NAME = 'team/app';

async function start(...lines: readonly string[]): Promise<TestRegistry> {
  const registry = await startRegistry(...USERS, ...lines);
  await pushImage(registry, basic('ann'), NAME);
  for (const tag of ['dev-1', 'dev-2', 'dev-keep'])
    await registry.send(`/v2/${NAME}/manifests/${tag}`, {
      method: 'PUT',
      headers: { ...headers, 'content-type': 'application/vnd.oci.image.manifest.v1+json' },
      body: MANIFEST,
    });
  return registry;
}

async function remove({ send }: TestRegistry, path: string): Promise<readonly [number, unknown]> {
  const answer = await send(path, { method: 'DELETE', headers });
  const text = await answer.text();
  return [answer.status, text === '' ? '' : JSON.parse(text)];
}

/** What the audit log has of deletions. */
function deletions({ lines }: TestRegistry): readonly string[] {
  return lines
    .filter((line) => line.startsWith('audit') && line.includes('"delete"'))
    .map((line) => {
      const {
        account,
        reference = '',
        detail = '',
        repository,
      } = JSON.parse(line.slice('audit '.length)) as {
        readonly [key: string]: string;
      };
      return [account, repository, reference, detail].join('|');
    });
}

const digest = sha256(MANIFEST);

test('a repository, and one record of it', async () => {
  const registry = await start();
  const counted = { tags: 4, manifests: 1, blobs: 1, uploads: 1 };
  const path = `/v2/${NAME}/_entrepot/repository`;
  expect(await remove(registry, `${path}?dry-run`)).toEqual([200, { name: NAME, dryRun: true, ...counted }]);
  expect(deletions(registry)).toEqual([]);
  expect(await remove(registry, path)).toEqual([202, { name: NAME, dryRun: false, ...counted }]);
  expect(deletions(registry)).toEqual([
    `ann|${NAME}||the repository: 4 tags, 1 manifests, 1 blobs, 1 uploads`,
  ]);
  expect((await remove(registry, path))[0]).toBe(404);
  const catalog = await registry.send('/v2/_catalog', { headers });
  expect(await catalog.json()).toEqual({ repositories: [] });
});

test('tags by a pattern, page by page, and a record of each', async () => {
  const registry = await start('tags: {protected: [{tags: "*-keep"}]}');
  const path = `/v2/${NAME}/_entrepot/tags?match=dev-*`;
  const told = (tag: string, deleted: boolean) => ({ tag, digest, deleted });
  const kept = { ...told('dev-keep', false), reason: 'the tag dev-keep is protected: it cannot be deleted' };
  const name = { name: NAME, match: 'dev-*' };
  expect(await remove(registry, `${path}&dry-run=true`)).toEqual([
    200,
    { ...name, dryRun: true, tags: [told('dev-1', false), told('dev-2', false), kept] },
  ]);
  const first = await registry.send(`${path}&n=2`, { method: 'DELETE', headers });
  expect([first.status, await first.json()]).toEqual([
    202,
    { ...name, dryRun: false, tags: [told('dev-1', true), told('dev-2', true)], next: 'dev-2' },
  ]);
  const link = /^<(.+)>; rel="next"$/.exec(first.headers.get('link') ?? '')?.[1] ?? '';
  expect(await remove(registry, link)).toEqual([202, { ...name, dryRun: false, tags: [kept] }]);
  expect(deletions(registry)).toEqual([`ann|${NAME}|dev-1|by dev-*`, `ann|${NAME}|dev-2|by dev-*`]);
});

test('a manifest: which tags went with it is in the record', async () => {
  const registry = await start();
  expect(await remove(registry, `/v2/${NAME}/blobs/${sha256(BLOB)}`)).toEqual([
    405,
    {
      errors: [
        {
          code: 'DENIED',
          message: 'a manifest of this repository refers to it: delete that one first',
          detail: { digest: sha256(BLOB), manifest: digest },
        },
      ],
    },
  ]);
  expect(await remove(registry, `/v2/${NAME}/manifests/dev-1`)).toEqual([202, '']);
  expect(await remove(registry, `/v2/${NAME}/manifests/${digest}`)).toEqual([202, '']);
  expect(await remove(registry, `/v2/${NAME}/blobs/${sha256(BLOB)}`)).toEqual([202, '']);
  expect(deletions(registry)).toEqual([
    `ann|${NAME}|dev-1|`,
    `ann|${NAME}|${digest}|with 3 tags: dev-2, dev-keep, v1`,
    `ann|${NAME}|${sha256(BLOB)}|`,
  ]);
});

const EVERYTHING = [
  `/v2/${NAME}/manifests/v1`,
  `/v2/${NAME}/manifests/${digest}`,
  `/v2/${NAME}/blobs/${sha256(BLOB)}`,
  `/v2/${NAME}/_entrepot/repository`,
  `/v2/${NAME}/_entrepot/repository?dry-run`,
  `/v2/${NAME}/_entrepot/tags?match=*`,
];

test.each([
  ['deletion is disabled', 'delete: {enabled: false}', 'storage.delete.enabled'],
  ['in read-only mode', 'delete: {enabled: true}, maintenance: {readonly: {enabled: true}}', 'read-only'],
])('%s nothing can be deleted, in no way', async (_, storage, message) => {
  const registry = await startRegistry(`storage: {inmemory: , ${storage}}`);
  for (const path of EVERYTHING) {
    const [status, body] = await remove(registry, path);
    expect([path, status, JSON.stringify(body)]).toEqual([path, 405, expect.stringContaining(message)]);
  }
});

const WRONG = [
  ['/v2/team/app/_entrepot/repository?dryrun=true', 400],
  ['/v2/team/app/_entrepot/repository?dry-run=yes', 400],
  ['/v2/team/app/_entrepot/tags', 400],
  ['/v2/team/app/_entrepot/tags?match=', 400],
  ['/v2/team/app/_entrepot/tags?match=v[12]', 400],
  ['/v2/team/app/_entrepot/tags?match=*&dry_run', 400],
  ['/v2/team/app/_entrepot/tags?match=*&match=v*', 400],
  ['/v2/team/none/_entrepot/tags?match=*', 404],
  ['/v2/team/app/_entrepot/other', 404],
  ['/v2/Team/_entrepot/repository', 400],
  ['/v2/_entrepot/repository', 400],
] as const;

test('what is asked for in a wrong way deletes nothing', async () => {
  const registry = await startRegistry();
  await pushImage(registry, '', NAME);
  for (const [path, status] of WRONG)
    expect([path, (await remove(registry, path))[0]]).toEqual([path, status]);
  // A repository whose name ends as the paths of the API do is one like others.
  await pushImage(registry, '', `${NAME}/manifests`);
  expect((await remove(registry, `/v2/${NAME}/manifests/_entrepot/repository`))[0]).toBe(202);
  const answer = await registry.send(`/v2/${NAME}/tags/list`);
  expect(await answer.json()).toMatchObject({ tags: ['v1'] });
});
