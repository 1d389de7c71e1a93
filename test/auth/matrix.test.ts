/** Every route and method against everybody who may ask: a route that is missing here does not compile. */
import { describe, expect, test } from 'bun:test';
import { SignJWT } from 'jose';
import { METHODS, type Resource } from '../../src/protocol/router.ts';
import {
  BLOB,
  basic,
  HASH,
  MANIFEST,
  MANIFEST_TYPE,
  PASSWORD,
  pushImage,
  SECRET,
  sha256,
  startRegistry,
  type TestRegistry,
  tokenFor,
} from './registry.ts';

/** What a request needs of whom it comes from. */
type Need = 'nothing' | 'known' | 'any pull' | 'pull' | 'push' | 'delete';

interface Ask {
  readonly need: Need;
  readonly path: string;
  readonly init?: RequestInit;
}

interface Content {
  readonly upload: string;
}

const NAME = 'team/app';
/** A blob that no manifest refers to. */
const ALONE = 'alone';
const range = { headers: { range: 'bytes=0-0' } };
const manifest = { headers: { 'content-type': MANIFEST_TYPE }, body: MANIFEST };

/** What is asked of each resource by each of its methods. */
const ASKS: Readonly<Record<Resource, (method: string, content: Content) => readonly Ask[]>> = {
  root: () => [{ need: 'nothing', path: '/' }],
  'v1-ping': () => [{ need: 'nothing', path: '/v1/_ping' }],
  token: () => [],
  keys: () => [{ need: 'nothing', path: '/v2/token/jwks.json' }],
  base: () => [
    { need: 'known', path: '/v2/' },
    { need: 'known', path: '/v2' },
  ],
  catalog: () => [{ need: 'any pull', path: '/v2/_catalog' }],
  search: () => [],
  // Of a certificate that is not of our own making there is nothing to tell.
  'root-ca': () => [],
  cache: () => [{ need: 'any pull', path: '/v2/_cache' }],
  kept: (method) =>
    ['v1', sha256(MANIFEST)].map((reference) => ({
      need: method === 'DELETE' ? 'delete' : 'pull',
      path: `/v2/${NAME}/_cache/${reference}`,
    })),
  tags: () => [
    { need: 'pull', path: `/v2/${NAME}/tags/list` },
    { need: 'pull', path: `/v2/${NAME}/tags/list?n=1&last=a` },
  ],
  referrers: () => [{ need: 'pull', path: `/v2/${NAME}/referrers/${sha256(MANIFEST)}` }],
  manifest(method) {
    if (method === 'DELETE') {
      return ['v1', sha256(MANIFEST)].map((reference) => ({
        need: 'delete',
        path: `/v2/${NAME}/manifests/${reference}`,
      }));
    }
    if (method === 'PUT') {
      return ['v2', sha256(MANIFEST), `${sha256(MANIFEST)}?tag=v3&tag=v4`].map((reference) => ({
        need: 'push',
        path: `/v2/${NAME}/manifests/${reference}`,
        init: manifest,
      }));
    }
    return ['v1', sha256(MANIFEST)].map((reference) => ({
      need: 'pull',
      path: `/v2/${NAME}/manifests/${reference}`,
    }));
  },
  blob: (method) =>
    method === 'DELETE'
      ? [{ need: 'delete', path: `/v2/${NAME}/blobs/${sha256(ALONE)}` }]
      : [{}, range].map((init) => ({ need: 'pull', path: `/v2/${NAME}/blobs/${sha256(BLOB)}`, init })),
  repository: () => [{ need: 'delete', path: `/v2/${NAME}/_entrepot/repository` }],
  'tag-pattern': () => [
    { need: 'delete', path: `/v2/${NAME}/_entrepot/tags?match=v*` },
    { need: 'delete', path: `/v2/${NAME}/_entrepot/tags?match=v*&dry-run` },
  ],
  uploads: () => [
    { need: 'push', path: `/v2/${NAME}/blobs/uploads/` },
    { need: 'push', path: `/v2/${NAME}/blobs/uploads` },
    { need: 'push', path: `/v2/${NAME}/blobs/uploads/?digest=${sha256('x')}`, init: { body: 'x' } },
    { need: 'push', path: `/v2/${NAME}/blobs/uploads/?mount=${sha256(BLOB)}&from=secret/app` },
    { need: 'push', path: `/v2/${NAME}/blobs/uploads/?mount=${sha256(BLOB)}` },
  ],
  upload: (method, { upload }) =>
    method === 'PUT'
      ? [{ need: 'push', path: `${upload}?digest=${sha256('x')}`, init: { body: 'x' } }]
      : [{ need: 'push', path: upload, init: method === 'PATCH' ? { body: 'x' } : {} }],
};

const RIGHTS: Readonly<Record<string, readonly Need[]>> = {
  admin: ['known', 'any pull', 'pull', 'push', 'delete'],
  puller: ['known', 'any pull', 'pull'],
  pusher: ['known', 'push'],
  deleter: ['known', 'delete'],
  other: ['known', 'any pull'],
};

function start(): Promise<TestRegistry> {
  return startRegistry(
    `auth: {hmac_secret: "${SECRET}"}`,
    `users: {${Object.keys(RIGHTS)
      .map((name) => `${name}: "${HASH}"`)
      .join(', ')}}`,
    'proxy:',
    'acl:',
    '  - {account: admin, actions: "*"}',
    '  - {account: puller, name: team/*, actions: pull}',
    '  - {account: pusher, name: team/*, actions: push}',
    '  - {account: deleter, name: team/*, actions: delete}',
    '  - {account: other, name: other/*, actions: "*"}',
  );
}

let addresses = 0;

async function startWithImages(): Promise<{ registry: TestRegistry; content: Content }> {
  const registry = await start();
  const content = await pushImage(registry, basic('admin'), NAME);
  await pushImage(registry, basic('admin'), 'secret/app');
  await registry.send(`/v2/${NAME}/blobs/uploads/?digest=${sha256(ALONE)}`, {
    method: 'POST',
    headers: { authorization: basic('admin') },
    body: ALONE,
  });
  return { registry, content };
}

/** A token in our form; `change` is what is wrong with it. */
async function forged(change: {
  readonly secret?: string;
  readonly kid?: string;
  readonly issuer?: string;
  readonly audience?: string;
  readonly from?: number;
  readonly until?: number;
}): Promise<string> {
  const registry = await start();
  const real = await tokenFor(registry, basic('admin'));
  const kid = (JSON.parse(Buffer.from(real.split('.')[0] ?? '', 'base64url').toString()) as { kid: string })
    .kid;
  const own = (
    JSON.parse(Buffer.from(real.split('.')[1] ?? '', 'base64url').toString()) as { entrepot: object }
  ).entrepot;
  const now = Math.floor(Date.now() / 1000);
  const actions = ['pull', 'push', 'delete'];
  return new SignJWT({ access: [{ type: 'repository', name: NAME, actions }], entrepot: own })
    .setProtectedHeader({ alg: 'HS256', kid: change.kid ?? kid })
    .setIssuer(change.issuer ?? 'entrepot')
    .setAudience(change.audience ?? 'entrepot')
    .setSubject('admin')
    .setNotBefore(now + (change.from ?? -10))
    .setExpirationTime(now + (change.until ?? 300))
    .sign(Buffer.from(change.secret ?? SECRET));
}

interface Somebody {
  readonly who: string;
  readonly authorization: (registry: TestRegistry) => Promise<string | undefined>;
  readonly rights: readonly Need[];
  /** The status of a refusal. */
  readonly refused: 401 | 403;
}

const SCOPES = [`repository:${NAME}:pull,push,delete`, 'registry:catalog:*'];

const EVERYBODY: readonly Somebody[] = [
  { who: 'nobody', authorization: () => Promise.resolve(undefined), rights: [], refused: 401 },
  {
    who: 'a token for nobody',
    authorization: async (registry) => `Bearer ${await tokenFor(registry, undefined, ...SCOPES)}`,
    rights: ['known'],
    refused: 401,
  },
  {
    who: 'a wrong password',
    authorization: () => Promise.resolve(basic('admin', 'wrong')),
    rights: [],
    refused: 401,
  },
  {
    who: 'an unknown account',
    authorization: () => Promise.resolve(basic('stranger')),
    rights: [],
    refused: 401,
  },
  ...Object.entries(RIGHTS).flatMap(([name, rights]): Somebody[] => [
    { who: `${name} by password`, authorization: () => Promise.resolve(basic(name)), rights, refused: 403 },
    {
      who: `${name} by token`,
      authorization: async (registry) => `Bearer ${await tokenFor(registry, basic(name), ...SCOPES)}`,
      // A token says for which repository it is, and whether it is for the catalog.
      rights,
      refused: 401,
    },
  ]),
  {
    who: 'admin by a token without scopes',
    authorization: async (registry) => `Bearer ${await tokenFor(registry, basic('admin'))}`,
    rights: ['known'],
    refused: 401,
  },
  ...Object.entries({
    'an expired token': { until: -120 },
    'a token of another issuer': { issuer: 'other' },
    'a token for another service': { audience: 'other' },
    'a token by another key': { secret: `${SECRET}!` },
    'a token of an unknown key': { kid: 'x' },
    'a token for later': { from: 3_000, until: 6_000 },
  }).map(([who, change]): Somebody => {
    let token: Promise<string> | undefined;
    return {
      who,
      authorization: async () => `Bearer ${await (token ??= forged(change))}`,
      rights: [],
      refused: 401,
    };
  }),
];

test('the forged tokens are good but for what is wrong with them', async () => {
  const registry = await start();
  const answer = await registry.send('/v2/', { headers: { authorization: `Bearer ${await forged({})}` } });
  expect(answer.status).toBe(200);
});

describe.each(EVERYBODY.map((somebody) => [somebody.who, somebody] as const))('%s', (_, somebody) => {
  const routes = Object.entries(METHODS).flatMap(([resource, methods]) =>
    methods.map((method) => [method, resource as Resource] as const),
  );
  /** What is refused, or only read, changes nothing: one registry does for all of it. */
  let shared: Promise<{ registry: TestRegistry; content: Content }> | undefined;
  test.each(routes)('%s %s', async (method, resource) => {
    shared ??= startWithImages();
    const { need = 'nothing' } = ASKS[resource](method, { upload: '' })[0] ?? {};
    const changes = method !== 'GET' && method !== 'HEAD' && somebody.rights.includes(need);
    const count = ASKS[resource](method, { upload: '' }).length;
    for (let number = 0; number < count; number += 1) {
      const { registry, content } = await (changes ? startWithImages() : shared);
      const ask = ASKS[resource](method, content)[number];
      if (ask === undefined) throw new Error('there was one');
      const authorization = await somebody.authorization(registry);
      const headers = new Headers(ask.init?.headers);
      if (authorization !== undefined) headers.set('authorization', authorization);
      // From another address each time: wrong passwords are counted.
      addresses += 1;
      const from = { remoteAddress: `198.51.100.${addresses % 250}` };
      const answer = await registry.send(ask.path, { ...ask.init, method, headers }, from);
      const asked = `${method} ${ask.path}`;
      if (ask.need === 'nothing' || somebody.rights.includes(ask.need)) {
        // Of our own repositories nothing is kept as another registry's.
        const isGiven = answer.ok || (resource === 'kept' && answer.status === 404);
        expect([asked, isGiven]).toEqual([asked, true]);
      } else {
        expect([asked, answer.status]).toEqual([asked, somebody.refused]);
        if (somebody.refused === 401) {
          expect(answer.headers.get('www-authenticate')).toStartWith(
            'Bearer realm="http://registry.test/v2/token"',
          );
        }
        const body = await answer.text();
        expect(body).not.toContain(PASSWORD);
        if (method !== 'HEAD')
          expect(JSON.parse(body)).toMatchObject({ errors: [{ code: expect.any(String) }] });
      }
    }
  });
});
