/** What only the specification's suite up to 1.1.1 asks of pulls and pushes. */
import { errorCodes, expectHeaderIs, expectJson, expectStatus, expectThat, Unsupported } from './check.ts';
import { withQuery } from './client.ts';
import { path } from './context.ts';
import type { Context } from './context.ts';
import { text } from './exchange.ts';
import { finish, locationOf, newBlob, patch, pushBlob, pushManifest, putManifest } from './push.ts';
import { manifestOf } from './small-manifest.ts';
import type { Scenario, Step } from './scenario.ts';
import { expectSession, openSession } from './uploads-chunked.ts';
import { TYPE } from './vocabulary.ts';

/** Reads of what is no tag. */
const invalidName = (['GET', 'HEAD'] as const).map((method): Step => ({
  name: `pull/${method} of an invalid manifest name is 404`,
  run: async (context) => {
    const target = path.manifest(context.repository, '.INVALID_MANIFEST_NAME');
    expectStatus(await context.send(method, target), 404);
  },
}));

async function refusalIsJson(context: Context): Promise<void> {
  const answer = await putManifest(context, context.repository, 'sha256:totallywrong', 'blablabla');
  expectStatus(answer, 400, 404);
  expectJson(answer);
  expectThat(errorCodes(text(answer)) !== undefined, 'a body {"errors":[{"code",…}]}', answer);
}

async function postThenGet(context: Context): Promise<void> {
  const blob = newBlob();
  const answer = await context.send(
    'POST',
    withQuery(path.uploads(context.repository), { digest: blob.digest }),
    {
      headers: { 'Content-Type': TYPE.octets },
      body: blob.bytes,
    },
  );
  expectStatus(answer, 201, 202);
  const stored = await context.get(path.blob(context.repository, blob.digest));
  expectStatus(stored, answer.status === 201 ? 200 : 404);
}

/** A session as the previous suite drives it: a stale Location is one from before the last chunk. */
async function staleLocation(context: Context): Promise<void> {
  const { bytes, digest } = newBlob(2048);
  const { location: first } = await openSession(context, context.repository);
  expectStatus(await patch(context, first, bytes.subarray(1024), 1024), 416);
  const accepted = await patch(context, first, bytes.subarray(0, 1024), 0);
  expectStatus(accepted, 202);
  expectHeaderIs(accepted, 'Range', '0-1023');
  expectStatus(await patch(context, first, bytes.subarray(0, 1024), 0), 416);
  const next = await expectSession(context, first, 1024);
  const second = await patch(context, next, bytes.subarray(1024), 1024);
  expectStatus(second, 202);
  expectHeaderIs(second, 'Range', '0-2047');
  expectStatus(await finish(context, locationOf(context, second), digest), 201);
}

async function mountLocation(context: Context): Promise<void> {
  const blob = newBlob();
  await pushBlob(context, context.otherRepository, blob);
  const query = { mount: blob.digest, from: context.otherRepository };
  const answer = await context.send('POST', withQuery(path.uploads(context.repository), query), {
    headers: { 'Content-Length': '0' },
  });
  if (answer.status === 202) throw new Unsupported('the registry does not mount blobs');
  expectStatus(answer, 201);
  const expected = path.blob(context.repository, blob.digest);
  expectThat(locationOf(context, answer) === expected, `a Location of the path ${expected}`, answer);
  expectStatus(await context.get(expected), 200);
}

async function mountOfUnknown(context: Context): Promise<void> {
  const target = withQuery(path.uploads(context.repository), { mount: newBlob().digest });
  const answer = await context.send('POST', target, { headers: { 'Content-Length': '0' } });
  expectStatus(answer, 202);
  locationOf(context, answer);
}

async function discoverBlob(context: Context): Promise<void> {
  const blob = newBlob();
  await pushBlob(context, context.otherRepository, blob);
  const target = withQuery(path.uploads(context.repository), { mount: blob.digest });
  const answer = await context.send('POST', target, { headers: { 'Content-Length': '0' } });
  if (answer.status === 202) throw new Unsupported('the registry does not look for blobs by itself');
  expectStatus(answer, 201);
  expectThat(
    locationOf(context, answer) === path.blob(context.repository, blob.digest),
    `a Location of the path ${path.blob(context.repository, blob.digest)}`,
    answer,
  );
}

async function manifestWithoutLayers(context: Context): Promise<void> {
  const repository = context.fresh('no-layers');
  const { bytes, digest } = await manifestOf(context, repository, { layers: 0 });
  await pushManifest(context, repository, 'no-layers', bytes);
  expectStatus(await context.get(path.manifest(repository, digest), { Accept: TYPE.image }), 200);
}

async function fourTags(context: Context): Promise<void> {
  const repository = context.fresh('four-tags');
  const { bytes, digest } = await manifestOf(context, repository);
  for (const tag of ['test0', 'test1', 'test2', 'test3']) await pushManifest(context, repository, tag, bytes);
  const answer = await context.get(path.manifest(repository, digest), { Accept: TYPE.image });
  expectStatus(answer, 200);
  expectHeaderIs(answer, 'Content-Type', TYPE.image);
}

/** Reads and pushes. */
export const previousPush: Scenario = {
  name: 'OCI 1.1.1 suite',
  basis: 'previous',
  steps: [
    ...invalidName,
    { name: 'pull/the body of a 400 is JSON of the specification', run: refusalIsJson },
    { name: 'push/POST with a digest is 201 and readable, or 202 and not', run: postThenGet },
    { name: 'push/chunks: 416 out of order, 416 for a replay, 204 on a stale Location', run: staleLocation },
    { name: 'push/Location of a mount is the blob in the target repository', run: mountLocation },
    { name: 'push/mount without from of an unknown digest is 202', run: mountOfUnknown },
    { name: 'push/mount without from finds a blob', run: discoverBlob },
    { name: 'push/manifest under four tags', run: fourTags },
    { name: 'push/manifest without layers', run: manifestWithoutLayers },
  ],
};
