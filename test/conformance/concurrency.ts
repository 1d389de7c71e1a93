/** Requests at the same moment: whatever the order, nothing wrong is stored and somebody succeeds. */
import { expectStatus, expectThat } from './check.ts';
import { path } from './context.ts';
import type { Context } from './context.ts';
import type { Exchange } from './exchange.ts';
import { expectBlobStored, finish, locationOf, newBlob, patch, pushManifest, startUpload } from './push.ts';
import { expectSession } from './uploads-chunked.ts';
import type { Scenario } from './scenario.ts';
import { manifestOf } from './small-manifest.ts';
import { expectTags } from './tags.ts';
import { TYPE } from './vocabulary.ts';

/** Large enough that two requests overlap. */
const SIZE = 1024 * 1024;

async function sameBlob(context: Context): Promise<void> {
  const repository = context.fresh('parallel-blob');
  const blob = newBlob(SIZE);
  const locations = await Promise.all([1, 2, 3, 4].map(() => startUpload(context, repository)));
  const answers = await Promise.all(
    locations.map((location) => finish(context, location, blob.digest, blob.bytes)),
  );
  for (const answer of answers) expectStatus(answer, 201);
  await expectBlobStored(context, repository, blob);
}

/** 201 to at least one; to the others 201 as well, or that the session is taken or gone. */
function expectOneStored(answers: readonly Exchange[]): void {
  for (const answer of answers) expectStatus(answer, 201, 400, 404, 409, 416);
  expectThat(
    answers.some(({ status }) => status === 201),
    'that at least one succeeds',
    answers[0],
  );
}

async function twoClosings(context: Context): Promise<void> {
  const repository = context.fresh('parallel-put');
  const blob = newBlob(SIZE);
  const location = await startUpload(context, repository);
  expectOneStored(await Promise.all([1, 2].map(() => finish(context, location, blob.digest, blob.bytes))));
  await expectBlobStored(context, repository, blob);
}

async function twoEmptyClosings(context: Context): Promise<void> {
  const repository = context.fresh('parallel-close');
  const blob = newBlob(SIZE);
  const next = locationOf(
    context,
    await patch(context, await startUpload(context, repository), blob.bytes, 0),
  );
  expectOneStored(await Promise.all([1, 2].map(() => finish(context, next, blob.digest))));
  await expectBlobStored(context, repository, blob);
}

async function differentClosings(context: Context): Promise<void> {
  const repository = context.fresh('parallel-different');
  const blobs = [newBlob(SIZE), newBlob(SIZE)];
  const location = await startUpload(context, repository);
  const answers = await Promise.all(blobs.map((blob) => finish(context, location, blob.digest, blob.bytes)));
  for (const [index, answer] of answers.entries()) {
    const blob = blobs[index];
    if (blob === undefined) continue;
    expectStatus(answer, 201, 400, 404, 409, 416);
    const stored = await context.get(path.blob(repository, blob.digest));
    expectStatus(stored, answer.status === 201 ? 200 : 404);
    if (stored.status === 200) await expectBlobStored(context, repository, blob);
  }
}

async function twoChunks(context: Context): Promise<void> {
  const repository = context.fresh('parallel-patch');
  const blob = newBlob(SIZE);
  const location = await startUpload(context, repository);
  const answers = await Promise.all([1, 2].map(() => patch(context, location, blob.bytes, 0)));
  const statuses = answers.map(({ status }) => status).toSorted((a, b) => a - b);
  expectThat(
    statuses[0] === 202 && (statuses[1] ?? 0) >= 409,
    '202 to one and 416 (or 409) to the other',
    answers[0],
  );
  const next = await expectSession(context, location, blob.bytes.length);
  expectStatus(await finish(context, next, blob.digest), 201);
  await expectBlobStored(context, repository, blob);
}

async function manyTags(context: Context): Promise<void> {
  const repository = context.fresh('parallel-tags');
  const manifests = await Promise.all([1, 2, 3, 4].map(() => manifestOf(context, repository)));
  const tags = Array.from({ length: 16 }, (_, index) => `tag-${String(index).padStart(2, '0')}`);
  await Promise.all(
    tags.map((tag, index) => pushManifest(context, repository, tag, manifests[index % 4]?.bytes ?? '')),
  );
  const list = await context.get(path.tags(repository));
  expectThat(expectTags(list).join(' ') === tags.join(' '), 'all sixteen tags', list);
}

async function oneTag(context: Context): Promise<void> {
  const repository = context.fresh('parallel-tag');
  const manifests = await Promise.all([1, 2, 3, 4].map(() => manifestOf(context, repository)));
  await Promise.all(manifests.map(({ bytes }) => pushManifest(context, repository, 'tag', bytes)));
  const answer = await context.get(path.manifest(repository, 'tag'), { Accept: TYPE.image });
  expectStatus(answer, 200);
  const whole = manifests.some(({ bytes }) => Buffer.compare(answer.body, bytes) === 0);
  expectThat(whole, 'one of the four manifests, whole', answer);
}

async function createOnce(context: Context): Promise<void> {
  const repository = context.fresh('parallel-create');
  const manifests = await Promise.all([1, 2, 3, 4].map(() => manifestOf(context, repository)));
  const answers = await Promise.all(
    manifests.map(({ bytes }) =>
      context.send('PUT', path.manifest(repository, 'tag'), {
        headers: { 'Content-Type': TYPE.image, 'If-None-Match': '*' },
        body: bytes,
      }),
    ),
  );
  for (const answer of answers) expectStatus(answer, 201, 412);
  const created = answers.filter(({ status }) => status === 201);
  expectThat(created.length === 1, 'exactly one 201, and 412 to the others', answers[0]);
}

async function deleteAndPush(context: Context): Promise<void> {
  const repository = context.fresh('delete-push');
  const blob = newBlob();
  const manifest = await manifestOf(context, repository);
  for (let round = 0; round < 3; round++) {
    expectStatus(await finish(context, await startUpload(context, repository), blob.digest, blob.bytes), 201);
    await expectBlobStored(context, repository, blob);
    expectStatus(await context.delete(path.blob(repository, blob.digest)), 202);
    expectStatus(await context.head(path.blob(repository, blob.digest)), 404);
    await pushManifest(context, repository, 'tag', manifest.bytes);
    expectStatus(await context.get(path.manifest(repository, 'tag'), { Accept: TYPE.image }), 200);
    expectStatus(await context.delete(path.manifest(repository, manifest.digest)), 202);
    expectStatus(await context.head(path.manifest(repository, 'tag')), 404);
    expectStatus(await context.head(path.manifest(repository, manifest.digest)), 404);
  }
}

/** The tests. */
export const concurrency: Scenario = {
  name: 'beyond/concurrency',
  basis: 'ours',
  steps: [
    { name: 'four uploads of one blob at once all succeed', run: sameBlob },
    { name: 'two PUTs with the blob on one session', run: twoClosings },
    { name: 'two empty closing PUTs on one session', run: twoEmptyClosings },
    { name: 'two PUTs of different blobs on one session store nothing wrong', run: differentClosings },
    { name: 'two PATCHes of the same range on one session', run: twoChunks },
    { name: 'sixteen tags pushed at once', run: manyTags },
    { name: 'one tag pushed four times at once', run: oneTag },
    { name: 'four creations of one tag at once: one wins', run: createOnce },
    { name: 'push, delete and push again, three times', run: deleteAndPush },
  ],
};
