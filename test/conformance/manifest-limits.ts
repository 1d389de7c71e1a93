/** Sizes and counts: what must be possible, and what must be refused without harm. */
import { expectBody, expectError, expectHeaderIs, expectStatus, expectThat } from './check.ts';
import { withQuery } from './client.ts';
import { path } from './context.ts';
import type { Context } from './context.ts';
import { header } from './exchange.ts';
import type { Exchange } from './exchange.ts';
import { pushManifest, putManifest } from './push.ts';
import type { Scenario, Step } from './scenario.ts';
import { manifestOf } from './small-manifest.ts';
import { expectTags } from './tags.ts';
import { MANIFEST_LIMIT, TYPE } from './vocabulary.ts';

/** A manifest of exactly so many bytes. */
async function manifestOfSize(context: Context, repository: string, size: number): Promise<Buffer> {
  const { fields } = await manifestOf(context, repository);
  const without = JSON.stringify({ ...fields, annotations: { padding: '' } });
  const padding = 'x'.repeat(size - Buffer.byteLength(without));
  return Buffer.from(JSON.stringify({ ...fields, annotations: { padding } }));
}

/** The same bytes with no length announced, as Go clients push manifests. */
function streamed(bytes: Uint8Array): () => AsyncGenerator<Uint8Array> {
  return async function* () {
    for (let at = 0; at < bytes.length; at += 32_768) yield bytes.subarray(at, at + 32_768);
  };
}

async function largest(context: Context): Promise<void> {
  const repository = context.fresh('largest');
  const bytes = await manifestOfSize(context, repository, MANIFEST_LIMIT);
  await pushManifest(context, repository, 'largest', bytes);
  const answer = await context.get(path.manifest(repository, 'largest'), { Accept: TYPE.image });
  expectStatus(answer, 200);
  expectBody(answer, bytes);
}

const tooLarge = [
  { how: 'announced', body: (bytes: Uint8Array) => bytes },
  { how: 'streamed', body: streamed },
].map(({ how, body }): Step => ({
  name: `a manifest of 4 MiB and a byte, ${how}, is 413 MANIFEST_INVALID`,
  run: async (context) => {
    const repository = context.fresh('too-large');
    const bytes = await manifestOfSize(context, repository, MANIFEST_LIMIT + 1);
    const answer = await putManifest(context, repository, 'too-large', body(bytes));
    expectError(answer, 413, 'MANIFEST_INVALID');
    expectStatus(await context.head(path.manifest(repository, 'too-large')), 404);
  },
}));

async function endless(context: Context): Promise<void> {
  const repository = context.fresh('too-large');
  let sent = 0;
  const piece = Buffer.alloc(65_536, ' ');
  const answer = await putManifest(context, repository, 'endless', async function* () {
    // The server's to end; the bound only keeps a server that never does from going on for ever.
    for (; sent < 64 * MANIFEST_LIMIT; sent += piece.length) yield piece;
  });
  expectError(answer, 413, 'MANIFEST_INVALID');
  expectThat(sent < 32 * MANIFEST_LIMIT, 'an answer long before the end of an endless body', answer);
}

async function chunkedPut(context: Context): Promise<void> {
  const repository = context.fresh('chunked-manifest');
  const { bytes } = await manifestOf(context, repository);
  expectStatus(await putManifest(context, repository, 'chunked', streamed(bytes)), 201);
  expectBody(await context.get(path.manifest(repository, 'chunked'), { Accept: TYPE.image }), bytes);
}

async function deepNesting(context: Context): Promise<void> {
  const depth = MANIFEST_LIMIT / 2 - 100;
  const content = `{"schemaVersion":2,"a":${'['.repeat(depth)}${']'.repeat(depth)}}`;
  const answer = await putManifest(context, context.fresh('deep'), 'deep', content);
  expectError(answer, 400, 'MANIFEST_INVALID');
}

/** Pushes by digest with tags as parameters. */
async function putWithTags(context: Context, repository: string, tags: readonly string[]): Promise<Exchange> {
  const { bytes, digest } = await manifestOf(context, repository);
  return await putManifest(context, repository, withQuery(digest, { tag: tags }), bytes);
}

const TAG_PARAMETERS: readonly Step[] = [
  {
    name: 'ten ?tag= parameters are taken, and named in OCI-Tag',
    run: async (context) => {
      const repository = context.fresh('ten-tags');
      const tags = Array.from({ length: 10 }, (_, index) => `tag-${index}`);
      const answer = await putWithTags(context, repository, tags);
      expectStatus(answer, 201);
      const named = (header(answer, 'oci-tag') ?? '').split(/\s*,\s*/).toSorted();
      expectThat(named.join(' ') === tags.join(' '), `OCI-Tag with ${tags.join(', ')}`, answer);
      const list = await context.get(path.tags(repository));
      expectThat(expectTags(list).join(' ') === tags.join(' '), 'exactly these tags', list);
    },
  },
  {
    name: 'too many ?tag= parameters are 414, and nothing is stored',
    run: async (context) => {
      const repository = context.fresh('many-tags');
      const { bytes, digest } = await manifestOf(context, repository);
      const tags = Array.from({ length: 100 }, (_, index) => `tag-${index}`);
      const answer = await putManifest(context, repository, withQuery(digest, { tag: tags }), bytes);
      expectStatus(answer, 414);
      expectStatus(await context.head(path.manifest(repository, digest)), 404);
      expectStatus(await context.head(path.manifest(repository, 'tag-0')), 404);
    },
  },
  {
    name: 'one invalid ?tag= is 400, and none of the others is set',
    run: async (context) => {
      const repository = context.fresh('bad-tag');
      const answer = await putWithTags(context, repository, ['good', '.bad', 'fine']);
      expectStatus(answer, 400);
      for (const tag of ['good', 'fine'])
        expectStatus(await context.head(path.manifest(repository, tag)), 404);
    },
  },
  {
    name: '?tag= in a push by tag is 400',
    run: async (context) => {
      const repository = context.fresh('tag-on-tag');
      const { bytes } = await manifestOf(context, repository);
      expectStatus(await putManifest(context, repository, 'one?tag=two', bytes), 400);
      for (const tag of ['one', 'two']) expectStatus(await context.head(path.manifest(repository, tag)), 404);
    },
  },
  {
    name: 'a repeated ?tag= is taken once',
    run: async (context) => {
      const repository = context.fresh('repeated-tag');
      expectStatus(await putWithTags(context, repository, ['same', 'same']), 201);
      const list = await context.get(path.tags(repository));
      expectThat(expectTags(list).join(' ') === 'same', 'exactly the one tag', list);
    },
  },
  {
    name: 'a ?tag= moves an existing tag',
    run: async (context) => {
      const repository = context.fresh('moved-tag');
      await pushManifest(context, repository, 'moved', (await manifestOf(context, repository)).bytes);
      const { bytes, digest } = await manifestOf(context, repository);
      expectStatus(await putManifest(context, repository, `${digest}?tag=moved`, bytes), 201);
      const answer = await context.head(path.manifest(repository, 'moved'), { Accept: TYPE.image });
      expectHeaderIs(answer, 'Docker-Content-Digest', digest);
    },
  },
];

/** The tests. */
export const manifestLimits: Scenario = {
  name: 'beyond/limits',
  basis: 'ours',
  steps: [
    { name: 'a manifest of exactly 4 MiB is taken', run: largest },
    ...tooLarge,
    { name: 'an endless manifest is 413 long before its end', run: endless },
    { name: 'a manifest of no announced length is taken', basis: 'spec', run: chunkedPut },
    { name: 'JSON nested two million deep is 400', run: deepNesting },
    ...TAG_PARAMETERS.map((step): Step => ({ ...step, level: 'dev' })),
  ],
};
