/** Each error code of the specification's table, by a request that brings it about. */
import { expectError, expectStatus, expectThat } from './check.ts';
import { withQuery } from './client.ts';
import { path } from './context.ts';
import type { Context } from './context.ts';
import { header } from './exchange.ts';
import type { Exchange } from './exchange.ts';
import { finish, newBlob, pushManifest, putManifest, startUpload } from './push.ts';
import type { Scenario, Step } from './scenario.ts';
import { descriptor, manifestOf } from './small-manifest.ts';
import { TYPE } from './vocabulary.ts';

interface Refusal {
  readonly name: string;
  readonly request: (context: Context, repository: string) => Promise<Exchange>;
  readonly status: number | readonly number[];
  readonly codes: readonly string[];
  readonly basis?: 'spec';
}

/** Upload ids are the registry's own; one that it never gave. */
const NO_SESSION = '3fa85f64-5717-4562-b3fc-2c963f66afa6';

const EMPTY = { headers: { 'Content-Length': '0' } } as const;

const REFUSALS: readonly Refusal[] = [
  ...(['GET', 'HEAD', 'DELETE'] as const).map((method): Refusal => ({
    name: `${method} of an unknown blob is 404 BLOB_UNKNOWN`,
    request: (context, repository) => context.send(method, path.blob(repository, newBlob().digest)),
    status: 404,
    codes: ['BLOB_UNKNOWN'],
  })),
  ...(['GET', 'HEAD', 'DELETE'] as const).map((method): Refusal => ({
    name: `${method} of a blob by a malformed digest is 400 DIGEST_INVALID`,
    request: (context, repository) => context.send(method, path.blob(repository, 'sha256:abc')),
    status: 400,
    codes: ['DIGEST_INVALID'],
  })),
  ...(['GET', 'HEAD', 'DELETE'] as const).map((method): Refusal => ({
    name: `${method} of an unknown manifest is 404 MANIFEST_UNKNOWN`,
    request: (context, repository) => context.send(method, path.manifest(repository, newBlob().digest)),
    status: 404,
    codes: ['MANIFEST_UNKNOWN'],
  })),
  ...(['GET', 'HEAD', 'DELETE'] as const).map((method): Refusal => ({
    name: `${method} of an unknown tag is 404 MANIFEST_UNKNOWN`,
    request: (context, repository) => context.send(method, path.manifest(repository, 'unknown')),
    status: 404,
    codes: ['MANIFEST_UNKNOWN'],
  })),
  ...(['GET', 'HEAD', 'DELETE'] as const).map((method): Refusal => ({
    name: `${method} of a manifest in an unknown repository is 404`,
    basis: 'spec',
    request: (context) => context.send(method, path.manifest(context.fresh('nothing'), newBlob().digest)),
    status: 404,
    codes: ['MANIFEST_UNKNOWN', 'NAME_UNKNOWN'],
  })),
  ...(['GET', 'PATCH', 'PUT', 'DELETE'] as const).map((method): Refusal => ({
    name: `${method} of an unknown upload is 404 BLOB_UPLOAD_UNKNOWN`,
    request: (context, repository) => {
      const target = `${path.uploads(repository)}${NO_SESSION}`;
      const query: Record<string, string> = method === 'PUT' ? { digest: newBlob().digest } : {};
      return context.send(method, withQuery(target, query), EMPTY);
    },
    status: 404,
    codes: ['BLOB_UPLOAD_UNKNOWN'],
  })),
  {
    name: 'POST with a malformed digest is 400 DIGEST_INVALID',
    request: (context, repository) =>
      context.send('POST', withQuery(path.uploads(repository), { digest: 'sha256:abc' }), EMPTY),
    status: 400,
    codes: ['DIGEST_INVALID'],
  },
  {
    name: 'POST with the digest of an unknown algorithm is 400 DIGEST_INVALID',
    request: (context, repository) =>
      context.send('POST', withQuery(path.uploads(repository), { digest: `md5:${'0'.repeat(32)}` }), EMPTY),
    status: 400,
    codes: ['DIGEST_INVALID'],
  },
  {
    name: 'closing an upload with the digest of an unknown algorithm is 400 DIGEST_INVALID',
    request: async (context, repository) => {
      const location = await startUpload(context, repository);
      return await finish(context, location, `sha999:${'0'.repeat(64)}`, newBlob().bytes);
    },
    status: 400,
    codes: ['DIGEST_INVALID'],
  },
  {
    name: 'closing an upload with upper-case hexadecimal is 400 DIGEST_INVALID',
    request: async (context, repository) => {
      const { bytes, digest } = newBlob();
      const location = await startUpload(context, repository);
      return await finish(context, location, `sha256:${digest.slice(7).toUpperCase()}`, bytes);
    },
    status: 400,
    codes: ['DIGEST_INVALID'],
  },
  {
    name: 'PUT of a manifest by a wrong digest is 400 DIGEST_INVALID',
    request: async (context, repository) => {
      const { bytes } = await manifestOf(context, repository);
      return await putManifest(context, repository, newBlob().digest, bytes);
    },
    status: 400,
    codes: ['DIGEST_INVALID'],
  },
  {
    name: 'PUT of what is no manifest is 400 MANIFEST_INVALID',
    request: (context, repository) => putManifest(context, repository, 'tag', 'not JSON'),
    status: 400,
    codes: ['MANIFEST_INVALID'],
  },
  {
    name: 'tags of an unknown repository are 404 NAME_UNKNOWN',
    request: (context) => context.get(path.tags(context.fresh('nothing'))),
    status: 404,
    codes: ['NAME_UNKNOWN'],
  },
];

async function missingBlobs(context: Context): Promise<void> {
  const repository = context.fresh('missing-blobs');
  const { fields } = await manifestOf(context, repository);
  const absent = [newBlob(), newBlob(), newBlob()];
  const layers = absent.map((blob) => descriptor(blob, TYPE.layerGzip));
  const answer = await putManifest(context, repository, 'tag', JSON.stringify({ ...fields, layers }));
  if (answer.status === 201) return;
  const codes = expectError(answer, [400, 404], 'MANIFEST_BLOB_UNKNOWN');
  expectThat(codes.length === 3, 'an entry for each of the three missing blobs', answer);
  expectStatus(await context.head(path.manifest(repository, 'tag')), 404);
}

async function missingChild(context: Context): Promise<void> {
  const repository = context.fresh('missing-child');
  const manifests = [descriptor(newBlob(), TYPE.image)];
  const index = JSON.stringify({ schemaVersion: 2, mediaType: TYPE.index, manifests });
  const answer = await putManifest(context, repository, 'tag', index, TYPE.index);
  if (answer.status === 201) return;
  expectError(answer, [400, 404], 'MANIFEST_BLOB_UNKNOWN');
}

const wrongMethods: readonly Step[] = [
  ['POST', 'tags/list'],
  ['PUT', 'tags/list'],
  ['DELETE', 'tags/list'],
  ['PATCH', 'manifests/tag'],
  ['POST', 'manifests/tag'],
  ['PUT', 'referrers/sha256:'.concat('0'.repeat(64))],
  ['PUT', 'blobs/sha256:'.concat('0'.repeat(64))],
].map(([method = '', rest = '']) => ({
  name: `${method} ${rest.split(':')[0]} is 405 with Allow`,
  basis: 'ours',
  run: async (context) => {
    const answer = await context.send(method, `/v2/${context.fresh('errors')}/${rest}`, EMPTY);
    expectError(answer, 405, 'UNSUPPORTED');
    expectThat(header(answer, 'allow') !== undefined, 'an Allow header (RFC 9110 15.5.6)', answer);
  },
}));

/** The tests, in a repository that exists. */
export const errors: Scenario = {
  name: 'beyond/errors',
  basis: 'ours',
  steps: [
    {
      name: 'prepare',
      run: async (context) => {
        const repository = context.fresh('errors');
        await pushManifest(context, repository, 'known', (await manifestOf(context, repository)).bytes);
      },
    },
    ...REFUSALS.map(({ name, request, status, codes, basis }): Step => ({
      name,
      ...(basis === undefined ? {} : { basis }),
      run: async (context) => {
        expectError(await request(context, context.fresh('errors')), status, ...codes);
      },
    })),
    {
      name: 'a manifest with missing blobs: MANIFEST_BLOB_UNKNOWN, an entry each',
      basis: 'spec',
      run: missingBlobs,
    },
    { name: 'an index with a missing child: MANIFEST_BLOB_UNKNOWN', basis: 'spec', run: missingChild },
    {
      name: 'missing references are refused by default',
      run: async (context) => {
        const repository = context.fresh('refused');
        const { fields } = await manifestOf(context, repository);
        const layers = [descriptor(newBlob(), TYPE.layerGzip)];
        const image = await putManifest(context, repository, 'tag', JSON.stringify({ ...fields, layers }));
        expectError(image, 400, 'MANIFEST_BLOB_UNKNOWN');
        const manifests = [descriptor(newBlob(), TYPE.image)];
        const index = JSON.stringify({ schemaVersion: 2, mediaType: TYPE.index, manifests });
        const refused = await putManifest(context, repository, 'tag', index, TYPE.index);
        expectError(refused, 400, 'MANIFEST_BLOB_UNKNOWN');
      },
    },
    ...wrongMethods,
    {
      name: 'an unknown path is 404',
      run: async (context) => {
        for (const target of ['/v2/_nothing', `/v2/${context.fresh('errors')}/nothing`, '/v3/', '/v2/x'])
          expectStatus(await context.get(target), 404);
      },
    },
  ],
};
