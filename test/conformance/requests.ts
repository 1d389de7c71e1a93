/** The request itself: hosts, paths, queries, methods. */
import {
  expectBody,
  expectHeader,
  expectHeaderIs,
  expectJson,
  expectNoBody,
  expectStatus,
  expectThat,
} from './check.ts';
import { withQuery } from './client.ts';
import { path } from './context.ts';
import type { Context } from './context.ts';
import { header } from './exchange.ts';
import { newBlob, pushBlob, pushManifest } from './push.ts';
import type { Scenario, Step } from './scenario.ts';
import { manifestOf } from './small-manifest.ts';
import { TYPE } from './vocabulary.ts';

const EVIL = 'evil.example:81';

/** Headers by which a client could make a careless registry name another host. */
const FORGED: readonly Readonly<Record<string, string>>[] = [
  { Host: EVIL },
  { 'X-Forwarded-Host': EVIL, 'X-Forwarded-Proto': 'https' },
  { Forwarded: `host="${EVIL}";proto=https` },
];

function forgedSteps(): readonly Step[] {
  return FORGED.flatMap((headers) => {
    const what = Object.keys(headers).join(' and ');
    const send = async (context: Context, method: string, target: string): Promise<string> => {
      const length = method === 'POST' ? { 'Content-Length': '0' } : {};
      const answer = await context.send(method, target, { headers: { ...headers, ...length } });
      const found = header(answer, method === 'POST' ? 'location' : 'link') ?? '';
      expectThat(!found.includes('evil.example'), 'no trace of the forged host', answer);
      return found;
    };
    return [
      {
        name: `a forged ${what} is not in a Location`,
        run: async (context) => {
          const location = await send(context, 'POST', path.uploads(context.fresh('hosts')));
          expectThat(location.startsWith('/'), `a relative Location, not ${location}`);
        },
      },
      {
        name: `a forged ${what} is not in a Link`,
        run: async (context) => {
          const repository = context.fresh('hosts');
          const { bytes } = await manifestOf(context, repository);
          for (const tag of ['a', 'b']) await pushManifest(context, repository, tag, bytes);
          const link = await send(context, 'GET', withQuery(path.tags(repository), { n: '1' }));
          expectThat(link.startsWith('</'), `a relative Link, not ${link}`);
        },
      },
    ];
  });
}

/** Targets that are no path of the API, however a lenient server could read them as one. */
const CROOKED: readonly ((repository: string) => string)[] = [
  (repository) => `//v2/${repository}/tags/list`,
  (repository) => `/v2//${repository}/tags/list`,
  (repository) => `/v2/${repository}//tags/list`,
  (repository) => `/v2/${repository.replaceAll('/', '%2F')}/tags/list`,
  (repository) => `/v2/${repository}/tags%2Flist`,
  (repository) => `/v2/${repository}/tags/list/`,
  (repository) => `/V2/${repository}/tags/list`,
  (repository) => `/v2/${repository}/tags/list%00`,
  (repository) => `/v2/${repository}/%74ags/list`,
];

/** Targets that a runtime may resolve before the registry sees them; then they must mean just that. */
const RESOLVABLE: readonly ((repository: string) => string)[] = [
  (repository) => `/v2/./${repository}/tags/list`,
  (repository) => `/v2/x/../${repository}/tags/list`,
  (repository) => `/v2/x/%2e%2e/${repository}/tags/list`,
  (repository) => `/v2/${repository}\\tags\\list`,
];

const crooked = [
  ...CROOKED.map((target) => ({ target, resolvable: false })),
  ...RESOLVABLE.map((target) => ({ target, resolvable: true })),
].map(({ target, resolvable }): Step => ({
  name: `GET ${target('a/b')} is ${resolvable ? 'refused, or means what it resolves to' : 'no tag list'}`,
  run: async (context) => {
    const repository = context.fresh('paths');
    await pushManifest(context, repository, 'tag', (await manifestOf(context, repository)).bytes);
    const answer = await context.send('GET', target(repository), { malformed: true });
    if (resolvable && answer.status === 200)
      expectBody(answer, (await context.get(path.tags(repository))).body);
    else expectStatus(answer, 400, 404);
  },
}));

/** Above the root of the API there is nothing to be reached. */
const escapes: Step = {
  name: 'no target leads out of the API',
  run: async (context) => {
    const repository = context.fresh('paths');
    for (const target of [
      `/v2/${repository}/../../../../../etc/passwd`,
      `/v2/${repository}/blobs/..%2f..%2fdata`,
    ])
      expectStatus(await context.send('GET', target, { malformed: true }), 400, 404);
  },
};

/** Parameters that no endpoint knows; containerd adds `ns` to every request. */
const QUERIES: readonly Readonly<Record<string, string>>[] = [{ ns: 'docker.io' }, { unknown: 'parameter' }];

const tolerated = QUERIES.map((query): Step => ({
  name: `?${Object.keys(query).join('&')}= is tolerated everywhere`,
  run: async (context) => {
    const repository = context.fresh('queries');
    const { bytes, digest } = await manifestOf(context, repository);
    const blob = newBlob();
    const empty = { headers: { 'Content-Length': '0' } };
    const session = await context.send('POST', withQuery(path.uploads(repository), query), empty);
    expectStatus(session, 202);
    const location = context.client.resolve(session, expectHeader(session, 'location'));
    const stored = await context.send('PUT', withQuery(location, { ...query, digest: blob.digest }), {
      body: blob.bytes,
    });
    expectStatus(stored, 201);
    const push = { headers: { 'Content-Type': TYPE.image }, body: bytes };
    expectStatus(await context.send('PUT', withQuery(path.manifest(repository, 'tag'), query), push), 201);
    const reads = [
      path.blob(repository, blob.digest),
      path.manifest(repository, digest),
      path.manifest(repository, 'tag'),
    ];
    for (const target of [...reads, path.tags(repository), path.referrers(repository, digest)]) {
      expectStatus(await context.get(withQuery(target, query), { Accept: TYPE.image }), 200);
      expectStatus(await context.head(withQuery(target, query), { Accept: TYPE.image }), 200);
    }
  },
}));

/** Escapes in queries that mean nothing, and that must not stop a server. */
const MALFORMED_QUERIES: readonly string[] = ['%', '%zz', 'n=%', 'last=%ff%fe', 'last=%00', 'n=%31%'];

const malformedQueries = MALFORMED_QUERIES.map((query): Step => ({
  name: `a query of ${query} is no 5xx`,
  run: async (context) => {
    const repository = context.fresh('paths');
    const answer = await context.send('GET', `${path.tags(repository)}?${query}`);
    expectThat(answer.status < 500, 'a status below 500', answer);
  },
}));

/** The tests. */
export const requests: Scenario = {
  name: 'beyond/requests',
  basis: 'ours',
  steps: [
    {
      name: 'GET /v2/ is 200, with and without the slash, and HEAD too',
      run: async (context) => {
        for (const target of ['/v2/', '/v2']) {
          const answer = await context.get(target);
          expectStatus(answer, 200);
          expectHeaderIs(answer, 'Docker-Distribution-API-Version', 'registry/2.0');
          expectJson(answer);
          const head = await context.head(target);
          expectStatus(head, 200);
          expectNoBody(head);
        }
      },
    },
    ...forgedSteps(),
    ...crooked,
    escapes,
    ...tolerated,
    ...malformedQueries,
    {
      name: 'OPTIONS is answered, for browsers',
      run: async (context) => {
        const headers = { Origin: 'https://ui.example', 'Access-Control-Request-Method': 'GET' };
        for (const target of [
          '/v2/',
          path.tags(context.fresh('paths')),
          path.manifest(context.fresh('paths'), 'tag'),
        ])
          expectStatus(await context.send('OPTIONS', target, { headers }), 200, 204);
      },
    },
    {
      name: 'Accept-Encoding does not encode blobs or manifests',
      run: async (context) => {
        const repository = context.fresh('encoding');
        const { bytes, layers } = await manifestOf(context, repository);
        await pushManifest(context, repository, 'tag', bytes);
        const headers = { 'Accept-Encoding': 'zstd, gzip, deflate', Accept: TYPE.image };
        expectBody(await context.get(path.manifest(repository, 'tag'), headers), bytes);
        for (const layer of layers)
          expectBody(await context.get(path.blob(repository, layer.digest), headers), layer.bytes);
      },
    },
    {
      name: 'a blob is of its repository only',
      run: async (context) => {
        const blob = newBlob();
        await pushBlob(context, context.fresh('owner'), blob);
        for (const method of ['GET', 'HEAD', 'DELETE'])
          expectStatus(await context.send(method, path.blob(context.fresh('stranger'), blob.digest)), 404);
      },
    },
  ],
};
