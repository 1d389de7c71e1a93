/** Conditional requests, ETags and further ranges, as RFC 9110 has them and clients use them. */
import { expectBody, expectHeaderIs, expectNoBody, expectStatus, expectThat } from './check.ts';
import { path } from './context.ts';
import type { Context } from './context.ts';
import { header } from './exchange.ts';
import type { Exchange } from './exchange.ts';
import { newBlob, pushBlob, pushManifest, putManifest } from './push.ts';
import type { Blob } from './push.ts';
import { Kept } from './scenario.ts';
import type { Scenario, Step } from './scenario.ts';
import { manifestOf } from './small-manifest.ts';
import type { SmallManifest } from './small-manifest.ts';
import { TYPE } from './vocabulary.ts';

/** Where the content is, and the digest that its ETag must be. */
interface Target {
  readonly target: string;
  readonly digest: string;
  readonly bytes: Uint8Array;
}

/** `If-None-Match` values, with whether they match an ETag of this digest. */
const NONE_MATCH: readonly (readonly [name: string, value: (digest: string) => string, matches: boolean])[] =
  [
    ['the ETag', (digest) => `"${digest}"`, true],
    ['the ETag, weak', (digest) => `W/"${digest}"`, true],
    ['a list with the ETag', (digest) => `"other", "${digest}"`, true],
    ['*', () => '*', true],
    ['another ETag', () => '"other"', false],
  ];

function etagSteps(what: string, find: (context: Context) => Target): readonly Step[] {
  const methods = ['GET', 'HEAD'] as const;
  return methods.flatMap((method) => [
    {
      name: `${what}: ${method} has the quoted digest as ETag`,
      run: async (context) => {
        const { target, digest } = find(context);
        const answer = await context.send(method, target, { headers: { Accept: TYPE.image } });
        expectStatus(answer, 200);
        expectHeaderIs(answer, 'ETag', `"${digest}"`);
      },
    },
    ...NONE_MATCH.map(([name, value, matches]): Step => ({
      name: `${what}: ${method} with If-None-Match of ${name} is ${matches ? 304 : 200}`,
      run: async (context) => {
        const { target, digest } = find(context);
        const headers = { Accept: TYPE.image, 'If-None-Match': value(digest) };
        const answer = await context.send(method, target, { headers });
        expectStatus(answer, matches ? 304 : 200);
        if (!matches) return;
        expectNoBody(answer);
        expectHeaderIs(answer, 'ETag', `"${digest}"`);
      },
    })),
  ]);
}

/** Ranges of a blob of 2048 bytes: the bytes that must come, 416, or 200 where the header must be ignored. */
const RANGES: readonly (readonly [range: string, expected: readonly [number, number] | 416 | 200])[] = [
  ['bytes=0-0', [0, 0]],
  ['bytes=2047-2047', [2047, 2047]],
  ['bytes=0-', [0, 2047]],
  ['bytes=-1', [2047, 2047]],
  ['bytes=-5000', [0, 2047]],
  ['bytes=2000-99999999999999999999', [2000, 2047]],
  ['Bytes=0-9', [0, 9]],
  ['bytes=-0', 416],
  ['bytes=2048-', 416],
  ['bytes=abc', 200],
  ['bytes=', 200],
  ['bytes=-', 200],
  ['lines=0-9', 200],
  ['bytes=0-9,20-29', 200],
  [`bytes=${Array.from({ length: 1000 }, (_, index) => `${index}-${index}`).join(',')}`, 200],
];

function expectPart(answer: Exchange, bytes: Uint8Array, first: number, last: number): void {
  expectStatus(answer, 206);
  expectHeaderIs(answer, 'Content-Range', `bytes ${first}-${last}/${bytes.length}`);
  expectHeaderIs(answer, 'Content-Length', String(last - first + 1));
  expectBody(answer, bytes.subarray(first, last + 1));
}

function rangeSteps(find: (context: Context) => Target): readonly Step[] {
  const sent = RANGES.map(([range, expected]): Step => ({
    name: `Range: ${range.length > 40 ? `${range.slice(0, 20)}… (a thousand)` : range}`,
    run: async (context) => {
      const { target, bytes } = find(context);
      const answer = await context.get(target, { Range: range });
      if (expected === 416) {
        expectStatus(answer, 416);
        expectHeaderIs(answer, 'Content-Range', `bytes */${bytes.length}`);
      } else if (expected === 200) {
        expectStatus(answer, 200);
        expectBody(answer, bytes);
      } else expectPart(answer, bytes, ...expected);
    },
  }));
  const conditions: readonly (readonly [string, (digest: string) => string, boolean])[] = [
    ['the ETag', (digest) => `"${digest}"`, true],
    ['another ETag', () => '"other"', false],
    ['the ETag, weak', (digest) => `W/"${digest}"`, false],
  ];
  const conditional = conditions.map(([name, value, applies]): Step => ({
    name: `Range with If-Range of ${name} is ${applies ? 206 : 200}`,
    run: async (context) => {
      const { target, bytes, digest } = find(context);
      const answer = await context.get(target, { Range: 'bytes=10-19', 'If-Range': value(digest) });
      if (applies) expectPart(answer, bytes, 10, 19);
      else expectStatus(answer, 200);
    },
  }));
  return [
    ...sent,
    ...conditional,
    {
      name: 'Range on HEAD is ignored',
      run: async (context) => {
        const { target, bytes } = find(context);
        const answer = await context.head(target, { Range: 'bytes=0-9' });
        expectStatus(answer, 200);
        expectHeaderIs(answer, 'Content-Length', String(bytes.length));
      },
    },
    ...(['GET', 'HEAD'] as const).map((method): Step => ({
      name: `Accept-Ranges on ${method}`,
      run: async (context) => {
        expectHeaderIs(await context.send(method, find(context).target), 'Accept-Ranges', 'bytes');
      },
    })),
  ];
}

async function tagConditions(context: Context): Promise<void> {
  const repository = context.fresh('conditional-tags');
  const [first, second] = [await manifestOf(context, repository), await manifestOf(context, repository)];
  const put = (manifest: SmallManifest, name: string, value: string): Promise<Exchange> =>
    putManifest(context, repository, 'tag', manifest.bytes, TYPE.image, { [name]: value });
  const expectTag = async ({ digest }: SmallManifest): Promise<void> => {
    const answer = await context.head(path.manifest(repository, 'tag'), { Accept: TYPE.image });
    expectHeaderIs(answer, 'Docker-Content-Digest', digest);
  };
  expectStatus(await put(first, 'If-Match', `"${second.digest}"`), 412);
  expectStatus(await put(first, 'If-Match', '*'), 412);
  expectStatus(await put(first, 'If-None-Match', '*'), 201);
  expectStatus(await put(second, 'If-None-Match', '*'), 412);
  await expectTag(first);
  expectStatus(await put(second, 'If-Match', `"${second.digest}"`), 412);
  await expectTag(first);
  expectStatus(await put(second, 'If-Match', `"${first.digest}"`), 201);
  await expectTag(second);
  expectStatus(await put(first, 'If-Match', '*'), 201);
  await expectTag(first);
}

/** The tests. */
export function conditional(): Scenario {
  const blob = new Kept<Blob>('blob');
  const manifest = new Kept<SmallManifest>('manifest');
  const repository = (context: Context): string => context.fresh('conditional');
  const findBlob = (context: Context): Target => ({
    target: path.blob(repository(context), blob.get().digest),
    ...blob.get(),
  });
  const findManifest =
    (reference: string | undefined) =>
    (context: Context): Target => {
      const { bytes, digest } = manifest.get();
      return { target: path.manifest(repository(context), reference ?? digest), digest, bytes };
    };
  return {
    name: 'beyond/conditional',
    basis: 'ours',
    steps: [
      {
        name: 'prepare',
        run: async (context) => {
          await pushBlob(context, repository(context), blob.set(newBlob(2048)));
          const { bytes } = manifest.set(await manifestOf(context, repository(context)));
          await pushManifest(context, repository(context), 'tag', bytes);
        },
      },
      ...etagSteps('blob', findBlob),
      ...etagSteps('manifest by digest', findManifest(undefined)),
      ...etagSteps('manifest by tag', findManifest('tag')),
      ...rangeSteps(findBlob),
      {
        name: 'blobs may be cached for ever',
        run: async (context) => {
          const cache = header(await context.get(findBlob(context).target), 'cache-control') ?? '';
          expectThat(/max-age=31536000/.test(cache), `Cache-Control with max-age=31536000, not "${cache}"`);
        },
      },
      { name: 'If-Match and If-None-Match on a push by tag', run: tagConditions },
    ],
  };
}
