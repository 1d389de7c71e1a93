/** Chunked and streamed pushes of the specification's suite. */
import { expectDigest, expectHeader, expectHeaderIs, expectStatus, expectThat } from './check.ts';
import { withQuery } from './client.ts';
import { path } from './context.ts';
import type { Context } from './context.ts';
import { header } from './exchange.ts';
import type { Exchange } from './exchange.ts';
import { expectStored, lifecycle } from './lifecycle.ts';
import { finish, locationOf, patch } from './push.ts';
import type { Blob } from './push.ts';
import type { Step } from './scenario.ts';
import { TYPE } from './vocabulary.ts';

/** The steps of the chunked pushes, each of a blob of its own. */
export function chunkedSteps(fresh: () => Blob): readonly Step[] {
  return [
    ...lifecycle('chunked single', fresh, (context, blob) => chunked(context, blob, 1, {})),
    ...lifecycle('stream', fresh, stream),
    ...lifecycle('chunked multi', fresh, (context, blob) => chunked(context, blob, 3, {})),
    ...lifecycle('chunked multi and put chunk', fresh, (context, blob) =>
      chunked(context, blob, 3, { lastInPut: true }),
    ),
    ...lifecycle('chunked out-of-order', fresh, (context, blob) =>
      chunked(context, blob, 3, { outOfOrder: true }),
    ),
    ...lifecycle('chunked out-of-order and put chunk', fresh, (context, blob) =>
      chunked(context, blob, 3, { outOfOrder: true, lastInPut: true }),
    ),
  ];
}

/** Begins a session; `minimum` is the size that chunks but the last must have, in bytes. */
export async function openSession(
  context: Context,
  repository: string,
): Promise<{ location: string; minimum: number }> {
  const answer = await context.send('POST', path.uploads(repository), { headers: { 'Content-Length': '0' } });
  expectStatus(answer, 202);
  const minimum = header(answer, 'oci-chunk-min-length') ?? '0';
  expectThat(/^\d+$/.test(minimum), 'a number in OCI-Chunk-Min-Length', answer);
  return { location: locationOf(context, answer), minimum: Number(minimum) };
}

/** What a chunk's answer must say when the session has `received` bytes; returns where to go on. */
export function expectAccepted(context: Context, answer: Exchange, received: number): string {
  expectStatus(answer, 202);
  expectHeaderIs(answer, 'Range', `0-${received - 1}`);
  return locationOf(context, answer);
}

/** The session must still be there with so many bytes; returns where to go on. */
export async function expectSession(context: Context, location: string, received: number): Promise<string> {
  const answer = await context.get(location);
  expectStatus(answer, 204);
  expectHeaderIs(answer, 'Range', `0-${Math.max(received - 1, 0)}`);
  return locationOf(context, answer);
}

interface ChunkedOptions {
  /** Send the last chunk with the closing PUT. */
  readonly lastInPut?: boolean;
  /** Before each chunk send one that is not its turn. */
  readonly outOfOrder?: boolean;
}

async function chunked(context: Context, small: Blob, count: number, options: ChunkedOptions): Promise<void> {
  const session = await openSession(context, context.repository);
  expectThat(
    session.minimum * count <= small.bytes.length,
    `a minimum chunk size of at most ${Math.floor(small.bytes.length / count)} bytes`,
  );
  const size = Math.ceil(small.bytes.length / count);
  let { location } = session;
  for (let index = 0; index < count; index++) {
    const start = index * size;
    const bytes = small.bytes.subarray(start, start + size);
    const closing = options.lastInPut === true && index === count - 1;
    if (options.outOfOrder === true) location = await sendWrong(context, location, small, start, closing);
    if (closing) {
      const range = `${start}-${start + bytes.length - 1}`;
      const answer = await finish(context, location, small.digest, bytes, { 'Content-Range': range });
      await expectStored(context, answer, small);
      return;
    }
    location = expectAccepted(context, await patch(context, location, bytes, start), start + bytes.length);
  }
  await expectStored(context, await finish(context, location, small.digest), small);
}

/** Sends a chunk that begins behind the session's end, which must be refused and change nothing. */
async function sendWrong(
  context: Context,
  location: string,
  blob: Blob,
  received: number,
  closing: boolean,
): Promise<string> {
  const wrong = blob.bytes.subarray(0, 100);
  const start = received + 100;
  if (!closing) {
    expectStatus(await patch(context, location, wrong, start), 416);
    return await expectSession(context, location, received);
  }
  const range = `${start}-${start + wrong.length - 1}`;
  expectStatus(await finish(context, location, blob.digest, wrong, { 'Content-Range': range }), 416);
  // The suite asks for the status at the URL of the refused request, with its `digest` parameter.
  await expectSession(context, withQuery(location, { digest: blob.digest }), received);
  return await expectSession(context, location, received);
}

async function stream(context: Context, blob: Blob): Promise<void> {
  const { location } = await openSession(context, context.repository);
  const answer = await context.send('PATCH', location, {
    headers: { 'Content-Type': TYPE.octets },
    body: async function* () {
      yield blob.bytes.subarray(0, 700);
      yield blob.bytes.subarray(700);
    },
  });
  const next = expectAccepted(context, answer, blob.bytes.length);
  const stored = await finish(context, next, blob.digest);
  expectHeader(stored, 'location');
  expectDigest(stored, blob.digest, context.digestRequired);
  await expectStored(context, stored, blob);
}
