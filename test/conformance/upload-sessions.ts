/** Upload sessions beyond what the specification's suites ask. */
import {
  digestOf,
  expectError,
  expectHeader,
  expectHeaderIs,
  expectNoBody,
  expectStatus,
  expectThat,
} from './check.ts';
import { withQuery } from './client.ts';
import { path } from './context.ts';
import type { Context } from './context.ts';
import { header } from './exchange.ts';
import type { Exchange } from './exchange.ts';
import {
  expectBlobMissing,
  expectBlobStored,
  finish,
  locationOf,
  newBlob,
  patch,
  startUpload,
} from './push.ts';
import type { Basis, Level, Scenario, Step } from './scenario.ts';
import { expectSession } from './uploads-chunked.ts';
import { TYPE } from './vocabulary.ts';

type Run = (context: Context, repository: string) => Promise<void>;

const EMPTY = { headers: { 'Content-Length': '0' } } as const;

/** Refused closing requests, after which the session must go on. */
const KEPT: readonly (readonly [
  name: string,
  query: Readonly<Record<string, string | readonly string[]>>,
])[] = [
  ['no digest', {}],
  ['an empty digest', { digest: '' }],
  ['a malformed digest', { digest: 'sha256:abc' }],
  ['a digest of an unknown algorithm', { digest: `md5:${'0'.repeat(32)}` }],
  ['two digests', { digest: [`sha256:${'0'.repeat(64)}`, `sha256:${'1'.repeat(64)}`] }],
];

/** Chunks whose `Content-Range` is not what the session or the body says; each is 416 and changes nothing. */
const WRONG_RANGES: readonly string[] = [
  '10-109',
  '0-98',
  '0-100',
  '99-0',
  'abc',
  'bytes 0-99/*',
  '-1-98',
  '0-',
  '0-99/100',
];

const startAnswer: Run = async (context, repository) => {
  const answer = await context.send('POST', path.uploads(repository), EMPTY);
  expectStatus(answer, 202);
  expectNoBody(answer);
  expectHeaderIs(answer, 'Range', '0-0');
  const id = header(answer, 'docker-upload-uuid') ?? '';
  expectThat(
    /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id),
    'a UUID in Docker-Upload-UUID',
    answer,
  );
  const location = new URL(locationOf(context, answer), context.client.origin);
  expectThat(
    location.pathname === `${path.uploads(repository)}${id}`,
    `a Location of the path ${path.uploads(repository)}<uuid>`,
    answer,
  );
};

const distinct: Run = async (context, repository) => {
  const locations = [await startUpload(context, repository), await startUpload(context, repository)];
  expectThat(locations[0] !== locations[1], 'another Location for each session');
};

const wrongRange =
  (range: string): Run =>
  async (context, repository) => {
    const { bytes, digest } = newBlob(100);
    const location = await startUpload(context, repository);
    const headers = { 'Content-Type': TYPE.octets, 'Content-Range': range };
    const answer = await context.send('PATCH', location, { headers, body: bytes });
    expectError(answer, 416, 'BLOB_UPLOAD_INVALID');
    expectHeaderIs(answer, 'Range', '0-0');
    const next = await expectSession(context, locationOf(context, answer), 0);
    expectStatus(await finish(context, next, digest, bytes), 201);
  };

const keptAfter =
  (query: (typeof KEPT)[number][1]): Run =>
  async (context, repository) => {
    const { bytes, digest } = newBlob(100);
    const location = locationOf(
      context,
      await patch(context, await startUpload(context, repository), bytes, 0),
    );
    const answer = await context.send('PUT', withQuery(location, query), EMPTY);
    expectError(answer, 400, 'DIGEST_INVALID', 'UNSUPPORTED');
    expectStatus(await finish(context, await expectSession(context, location, 100), digest), 201);
  };

const foreign: Run = async (context, repository) => {
  const { bytes, digest } = newBlob(100);
  const location = await startUpload(context, repository);
  const other = location.replace(path.uploads(repository), path.uploads(`${repository}-other`));
  expectThat(other !== location, `a Location below ${path.uploads(repository)}`);
  for (const method of ['GET', 'PATCH', 'DELETE'])
    expectError(await context.send(method, other, EMPTY), 404, 'BLOB_UPLOAD_UNKNOWN');
  expectError(await finish(context, other, digest, bytes), 404, 'BLOB_UPLOAD_UNKNOWN');
  expectStatus(await finish(context, location, digest, bytes), 201);
  await expectBlobMissing(context, `${repository}-other`, digest);
};

const closedIsGone: Run = async (context, repository) => {
  const { bytes, digest } = newBlob(100);
  const location = await startUpload(context, repository);
  expectStatus(await finish(context, location, digest, bytes), 201);
  expectError(await context.get(location), 404, 'BLOB_UPLOAD_UNKNOWN');
  expectError(await patch(context, location, bytes, 0), 404, 'BLOB_UPLOAD_UNKNOWN');
};

const cancelledIsGone: Run = async (context, repository) => {
  const { bytes, digest } = newBlob(100);
  const location = locationOf(
    context,
    await patch(context, await startUpload(context, repository), bytes, 0),
  );
  expectStatus(await context.delete(location), 204);
  expectError(await context.get(location), 404, 'BLOB_UPLOAD_UNKNOWN');
  expectError(await patch(context, location, bytes, 100), 404, 'BLOB_UPLOAD_UNKNOWN');
  expectError(await finish(context, location, digest), 404, 'BLOB_UPLOAD_UNKNOWN');
  expectError(await context.delete(location), 404, 'BLOB_UPLOAD_UNKNOWN');
  await expectBlobMissing(context, repository, digest);
};

const streams: Run = async (context, repository) => {
  const { bytes, digest } = newBlob(1000);
  let location = await startUpload(context, repository);
  // As docker sends it: chunked coding, no range, no type; a second one goes on behind the first.
  for (const [from, to] of [
    [0, 600],
    [600, 1000],
  ] as const) {
    const answer = await context.send('PATCH', location, {
      body: async function* () {
        for (let at = from; at < to; at += 100) yield bytes.subarray(at, at + 100);
      },
    });
    expectStatus(answer, 202);
    expectHeaderIs(answer, 'Range', `0-${to - 1}`);
    location = locationOf(context, answer);
  }
  expectStatus(await finish(context, location, digest), 201);
};

const emptyPatch: Run = async (context, repository) => {
  const location = await startUpload(context, repository);
  const answer = await context.send('PATCH', location, EMPTY);
  expectStatus(answer, 202);
  expectHeaderIs(answer, 'Range', '0-0');
  expectStatus(await finish(context, locationOf(context, answer), digestOf(Buffer.alloc(0))), 201);
};

const chunkedPut: Run = async (context, repository) => {
  const blob = newBlob(3000);
  const answer = await finish(
    context,
    await startUpload(context, repository),
    blob.digest,
    async function* () {
      yield blob.bytes.subarray(0, 1000);
      yield blob.bytes.subarray(1000);
    },
  );
  expectStatus(answer, 201);
  await expectBlobStored(context, repository, blob);
};

const lateAlgorithm: Run = async (context, repository) => {
  const blob = newBlob(3000, 'sha512');
  let location = await startUpload(context, repository);
  for (const at of [0, 1000, 2000])
    location = locationOf(context, await patch(context, location, blob.bytes.subarray(at, at + 1000), at));
  const answer = await finish(context, location, blob.digest);
  expectStatus(answer, 201);
  expectHeaderIs(answer, 'Docker-Content-Digest', blob.digest);
  await expectBlobStored(context, repository, blob);
};

const interrupted: Run = async (context, repository) => {
  const blob = newBlob(200_000);
  const location = await startUpload(context, repository);
  await context.send('PATCH', location, {
    headers: { 'Content-Type': TYPE.octets, 'Content-Length': String(blob.bytes.length) },
    body: async function* () {
      yield blob.bytes.subarray(0, 100_000);
    },
    hangUp: true,
  });
  // The client hung up. The session says how far it came: at most what was sent, and perhaps still growing, as
  // the server may see the end of the connection later than this request. A 416 then says where to go on.
  const status = await context.get(location);
  expectStatus(status, 204);
  let received = receivedBytes(status);
  for (let attempts = 0; ; attempts++) {
    expectThat(received <= 100_000, 'a Range of at most what was sent', status);
    const answer = await patch(context, location, blob.bytes.subarray(received), received);
    if (answer.status === 202) break;
    expectThat(
      answer.status === 416 && attempts < 10,
      'status 202, or 416 while the first PATCH ends',
      answer,
    );
    received = receivedBytes(answer);
  }
  expectStatus(await finish(context, location, blob.digest), 201);
  await expectBlobStored(context, repository, blob);
};

/** Bytes that a session has, by the `Range` of an answer; `0-0` counts as none. */
function receivedBytes(answer: Exchange): number {
  const end = Number(/^0-(\d+)$/.exec(expectHeader(answer, 'range'))?.[1] ?? Number.NaN);
  expectThat(Number.isSafeInteger(end), 'a Range of the form 0-<end>', answer);
  return end === 0 ? 0 : end + 1;
}

const encoded: Run = async (context, repository) => {
  const { bytes, digest } = newBlob(100);
  const location = await startUpload(context, repository);
  const answer = await finish(context, location, digest, bytes, { 'Content-Encoding': 'gzip' });
  expectStatus(answer, 415);
  expectStatus(await finish(context, location, digest, bytes), 201);
};

const expectContinue: Run = async (context, repository) => {
  const blob = newBlob(2000);
  const location = await startUpload(context, repository);
  expectStatus(await finish(context, location, blob.digest, blob.bytes, { Expect: '100-continue' }), 201);
};

const algorithms: Run = async (context, repository) => {
  for (const algorithm of ['sha256', 'sha512'] as const) {
    const blob = newBlob(100, algorithm);
    const location = await startUpload(context, repository, { 'digest-algorithm': algorithm });
    expectStatus(await finish(context, location, blob.digest, blob.bytes), 201);
    await expectBlobStored(context, repository, blob);
  }
};

const unknownAlgorithm: Run = async (context, repository) => {
  const target = withQuery(path.uploads(repository), { 'digest-algorithm': 'md5' });
  expectError(await context.send('POST', target, EMPTY), 400, 'DIGEST_INVALID');
};

const fromAlone: Run = async (context, repository) => {
  await startUpload(context, repository, { from: context.otherRepository });
};

const mountRefusals: Run = async (context, repository) => {
  const { digest } = newBlob();
  for (const from of [context.fresh('nothing'), 'INVALID', repository])
    await startUpload(context, repository, { mount: digest, from });
};

const HELD: readonly (readonly [name: string, run: Run, basis: Basis, level?: Level])[] = [
  ['POST: 202 with Location, Docker-Upload-UUID and Range: 0-0', startAnswer, 'ours'],
  ['POST: each session is another', distinct, 'spec'],
  ['a session is of its repository only', foreign, 'ours'],
  ['a closed session is gone', closedIsGone, 'ours'],
  ['a cancelled session is gone, with its bytes', cancelledIsGone, 'spec', 'dev'],
  ['streamed PATCHes without range or type append', streams, 'ours'],
  ['an empty PATCH', emptyPatch, 'ours'],
  ['a PUT of no announced length', chunkedPut, 'ours'],
  ['sha512 that only the closing PUT names', lateAlgorithm, 'spec'],
  ['a PATCH whose client hangs up can be resumed', interrupted, 'ours'],
  ['Content-Encoding is 415, and the session goes on', encoded, 'ours'],
  ['Expect: 100-continue', expectContinue, 'ours'],
  ['digest-algorithm', algorithms, 'spec', 'dev'],
  ['an unknown digest-algorithm is 400 DIGEST_INVALID', unknownAlgorithm, 'spec', 'dev'],
  ['from without mount is a plain POST', fromAlone, 'ours'],
  ['a mount that cannot be is 202', mountRefusals, 'spec'],
];

/** The tests, each with a session of its own. */
export const uploadSessions: Scenario = {
  name: 'beyond/uploads',
  basis: 'ours',
  steps: [
    ...HELD.map(([name, run, basis, level]) => step(name, run, basis, level)),
    ...WRONG_RANGES.map((range) =>
      step(
        `Content-Range: ${range} for 100 bytes is 416, and the session goes on`,
        wrongRange(range),
        'ours',
      ),
    ),
    ...KEPT.map(([name, query]) =>
      step(`closing with ${name} is 400, and the session goes on`, keptAfter(query), 'ours'),
    ),
  ],
};

function step(name: string, run: Run, basis: Basis, level?: Level): Step {
  return {
    name,
    basis,
    ...(level === undefined ? {} : { level }),
    run: (context) => run(context, context.fresh('uploads')),
  };
}
