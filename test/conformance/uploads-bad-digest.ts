/** Pushes under a digest that is not the content's: each way must end in 400 and store nothing. */
import { digestOf, expectHeaderIs, expectStatus } from './check.ts';
import { withQuery } from './client.ts';
import { path } from './context.ts';
import type { Context } from './context.ts';
import { expectBlobMissing, finish, locationOf, patch, startUpload } from './push.ts';
import type { Blob } from './push.ts';
import type { Step } from './scenario.ts';
import { TYPE } from './vocabulary.ts';
import type { Algorithm } from './vocabulary.ts';

/** A push that gives `digest` for `bytes`, which it is not. */
type BadPush = (context: Context, bytes: Uint8Array, digest: string) => Promise<void>;

const WAYS: Readonly<Record<string, BadPush>> = {
  'post only': async (context, bytes, digest) => {
    const answer = await context.send('POST', withQuery(path.uploads(context.repository), { digest }), {
      headers: { 'Content-Type': TYPE.octets },
      body: bytes,
    });
    expectStatus(answer, 400, 202);
    if (answer.status === 202)
      expectStatus(await finish(context, locationOf(context, answer), digest, bytes), 400);
  },
  'post+put': async (context, bytes, digest) => {
    const location = await startUpload(context, context.repository);
    expectStatus(await finish(context, location, digest, bytes), 400);
  },
  chunked: async (context, bytes, digest) => {
    const location = await startUpload(context, context.repository);
    const answer = await patch(context, location, bytes, 0);
    expectStatus(answer, 202);
    expectStatus(await finish(context, locationOf(context, answer), digest), 400);
  },
  'chunked and put chunk': async (context, bytes, digest) => {
    const location = await startUpload(context, context.repository);
    const half = Math.floor(bytes.length / 2);
    const answer = await patch(context, location, bytes.subarray(0, half), 0);
    expectStatus(answer, 202);
    const closing = await finish(context, locationOf(context, answer), digest, bytes.subarray(half), {
      'Content-Range': `${half}-${bytes.length - 1}`,
    });
    expectStatus(closing, 400);
  },
  stream: async (context, bytes, digest) => {
    const location = await startUpload(context, context.repository);
    const answer = await context.send('PATCH', location, {
      headers: { 'Content-Type': TYPE.octets },
      body: async function* () {
        yield bytes;
      },
    });
    expectStatus(answer, 202);
    expectHeaderIs(answer, 'Range', `0-${bytes.length - 1}`);
    expectStatus(await finish(context, locationOf(context, answer), digest), 400);
  },
};

/** A test for each way. */
export function badDigestSteps(fresh: () => Blob): readonly Step[] {
  return Object.entries(WAYS).map(([way, push]) => ({
    name: `bad digest ${way}`,
    run: async (context) => {
      const { bytes, digest } = fresh();
      const algorithm: Algorithm = digest.startsWith('sha512:') ? 'sha512' : 'sha256';
      const wrong = digestOf(Buffer.concat([bytes, Buffer.from('x')]), algorithm);
      await push(context, bytes, wrong);
      await expectBlobMissing(context, context.repository, wrong);
      await expectBlobMissing(context, context.repository, digest);
    },
  }));
}
