/** The blob group of the specification's suite, once an algorithm: every way to push, and ranges. */
import { expectBody, expectHeader, expectHeaderIs, expectStatus, expectThat, Unsupported } from './check.ts';
import { withQuery } from './client.ts';
import { path } from './context.ts';
import type { Context } from './context.ts';
import { header } from './exchange.ts';
import { blobOf, finish, newBlob, pushBlob, startUpload } from './push.ts';
import type { Blob } from './push.ts';
import { Kept } from './scenario.ts';
import type { Scenario, Step } from './scenario.ts';
import { expectStored, lifecycle } from './lifecycle.ts';
import { badDigestSteps } from './uploads-bad-digest.ts';
import { chunkedSteps } from './uploads-chunked.ts';
import { TYPE } from './vocabulary.ts';
import type { Algorithm } from './vocabulary.ts';

/** The blob group for one digest algorithm. */
export function blobScenario(algorithm: Algorithm): Scenario {
  const fresh = (): Blob => newBlob(2048, algorithm);
  return {
    name: `OCI Conformance Test/${algorithm} blobs`,
    basis: 'suite',
    steps: [
      {
        name: 'get-missing',
        run: async (context) => {
          expectStatus(await context.get(path.blob(context.repository, fresh().digest)), 404);
        },
      },
      ...lifecycle('post only', fresh, postOnly),
      ...lifecycle('post+put', fresh, postPut),
      ...chunkedSteps(fresh),
      ...lifecycle('mount', fresh, (context, blob) => mount(context, blob, context.otherRepository)),
      ...lifecycle('mount anonymous', fresh, (context, blob) => mount(context, blob)),
      ...lifecycle('mount missing', fresh, mountMissing),
      { name: 'post cancel', level: 'dev', run: postCancel },
      ...rangeSteps(fresh),
      ...lifecycle('empty', () => blobOf('', algorithm), postPut),
      ...lifecycle('emptyJSON', () => blobOf('{}', algorithm), postPut),
      ...badDigestSteps(fresh),
    ],
  };
}

async function postOnly(context: Context, blob: Blob): Promise<void> {
  const answer = await context.send(
    'POST',
    withQuery(path.uploads(context.repository), { digest: blob.digest }),
    {
      headers: { 'Content-Type': TYPE.octets },
      body: blob.bytes,
    },
  );
  if (answer.status === 202) {
    expectHeader(answer, 'location');
    throw new Unsupported('the registry does not take a blob with the POST');
  }
  await expectStored(context, answer, blob);
}

async function postPut(context: Context, blob: Blob): Promise<void> {
  const location = await startUpload(context, context.repository);
  await expectStored(context, await finish(context, location, blob.digest, blob.bytes), blob);
}

async function mount(context: Context, blob: Blob, from?: string): Promise<void> {
  await pushBlob(context, context.otherRepository, blob);
  const query = from === undefined ? { mount: blob.digest } : { mount: blob.digest, from };
  const answer = await context.send('POST', withQuery(path.uploads(context.repository), query), {
    headers: { 'Content-Length': '0' },
  });
  if (answer.status === 202) {
    expectHeader(answer, 'location');
    throw new Unsupported(
      `the registry does not mount blobs ${from === undefined ? 'without "from"' : ''}`.trim(),
    );
  }
  await expectStored(context, answer, blob);
}

async function mountMissing(context: Context, blob: Blob): Promise<void> {
  const location = await startUpload(context, context.repository, {
    mount: blob.digest,
    from: context.otherRepository,
  });
  await expectStored(context, await finish(context, location, blob.digest, blob.bytes), blob);
}

async function postCancel(context: Context): Promise<void> {
  const location = await startUpload(context, context.repository);
  expectStatus(await context.delete(location), 204);
}

/** A range, and the bytes of a blob of 2048 bytes that it means; undefined when it cannot be satisfied. */
const RANGES: readonly (readonly [range: string, first: number, last: number] | readonly [range: string])[] =
  [
    ['500-1499', 500, 1499],
    ['500-', 500, 2047],
    ['-500', 1548, 2047],
    ['2000-5000', 2000, 2047],
    ['500-0'],
    ['5000-10000'],
  ];

function rangeSteps(content: () => Blob): readonly Step[] {
  const kept = new Kept<Blob>('blob');
  const setUp: Step = {
    name: 'range requests/blob-push',
    run: async (context) => pushBlob(context, context.repository, kept.set(content())),
  };
  const steps = RANGES.map(([range, first, last]): Step => ({
    name: `range requests/range ${range}`,
    needs: setUp.name,
    run: async (context) => {
      const { bytes, digest } = kept.get();
      const answer = await context.get(path.blob(context.repository, digest), { Range: `bytes=${range}` });
      if (answer.status === 200) {
        expectBody(answer, bytes);
        throw new Unsupported('the registry does not answer ranges');
      }
      if (first === undefined || last === undefined) {
        expectStatus(answer, 416);
        return;
      }
      expectStatus(answer, 206);
      const where = header(answer, 'content-range');
      const right =
        where === `bytes ${first}-${last}/${bytes.length}` || where === `bytes ${first}-${last}/*`;
      expectThat(right, `the header Content-Range: bytes ${first}-${last}/${bytes.length}`, answer);
      expectHeaderIs(answer, 'Content-Length', String(last - first + 1));
      expectBody(answer, bytes.subarray(first, last + 1));
    },
  }));
  return [setUp, ...steps];
}
