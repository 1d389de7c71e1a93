/** What the specification's suite does with each data set: push, list, read, referrers, delete. */
import {
  checkEach,
  expectBody,
  expectDigest,
  expectHeaderIs,
  expectNoBody,
  expectStatus,
  expectThat,
  Unsupported,
} from './check.ts';
import { withQuery } from './client.ts';
import { path } from './context.ts';
import type { Context } from './context.ts';
import type { DataSet, Manifest } from './data-set.ts';
import { deletionSteps } from './deletion.ts';
import type { Exchange } from './exchange.ts';
import { finish, locationOf, putManifest, startUpload } from './push.ts';
import { referrerSteps } from './referrers.ts';
import type { Level, Scenario, Step } from './scenario.ts';
import { tagListSteps } from './tags.ts';

/** The steps for one data set. Contents are made when this is called. */
export function dataSetScenario(set: DataSet, level?: Level): Scenario {
  const tagged = set.manifests.some((manifest) => manifest.tags.length > 0);
  return {
    name: `OCI Conformance Test/${set.name}`,
    basis: 'suite',
    ...(level === undefined ? {} : { level }),
    steps: [
      ...pushSteps(set),
      ...(tagged ? tagListSteps(set).map((step) => needingTags(set, step)) : []),
      ...readSteps(set, 'head', tagged),
      ...readSteps(set, 'pull', tagged),
      ...(set.manifests.some((manifest) => manifest.referrer !== undefined) ? referrerSteps(set) : []),
      ...deletionSteps(set),
    ],
  };
}

/** Pushes the blobs of a data set and checks each answer. */
export function blobPushStep(set: DataSet): Step {
  return {
    name: 'push/blob',
    run: async (context) => {
      await checkEach(set.blobs, async (blob) => {
        const location = await startUpload(context, context.repository);
        const answer = await finish(context, location, blob.digest, blob.bytes);
        expectStatus(answer, 201);
        expectDigest(answer, blob.digest, false);
      });
    },
  };
}

function pushSteps(set: DataSet): readonly Step[] {
  const byDigest: Step = {
    name: 'push/manifest-by-digest',
    run: async (context) => {
      await checkEach(set.manifests, async (manifest) => {
        if (set.tagging === 'parameters' && manifest.tags.length > 0) await pushWithTags(context, manifest);
        else await expectPushed(context, manifest, await put(context, manifest, manifest.digest));
      });
    },
  };
  const byTag: Step = {
    name: 'push/manifest-by-tag',
    run: async (context) => {
      await checkEach(tagsOf(set), async ({ manifest, tag }) =>
        expectPushed(context, manifest, await put(context, manifest, tag)),
      );
    },
  };
  const tagged = set.tagging === 'tag' && set.manifests.some((manifest) => manifest.tags.length > 0);
  return [blobPushStep(set), byDigest, ...(tagged ? [byTag] : [])];
}

/** Tags pushed as parameters are there only if the registry takes those. */
function needingTags(set: DataSet, step: Step): Step {
  return set.tagging === 'parameters' ? { ...step, needs: 'push/manifest-by-digest' } : step;
}

function tagsOf(set: DataSet): readonly { manifest: Manifest; tag: string }[] {
  return set.manifests.flatMap((manifest) => manifest.tags.map((tag) => ({ manifest, tag })));
}

function put(context: Context, manifest: Manifest, reference: string): Promise<Exchange> {
  return putManifest(context, context.repository, reference, manifest.bytes, manifest.mediaType);
}

async function pushWithTags(context: Context, manifest: Manifest): Promise<void> {
  const target = withQuery(manifest.digest, { tag: manifest.tags });
  const answer = await put(context, manifest, target);
  await expectPushed(context, manifest, answer);
  const accepted = (answer.headers.get('oci-tag') ?? []).flatMap((value) => value.split(/\s*,\s*/));
  if (accepted.length === 0) throw new Unsupported('the registry does not take ?tag= parameters');
  const expected = manifest.tags.toSorted().join(', ');
  expectThat(accepted.toSorted().join(', ') === expected, `OCI-Tag: ${expected}`, answer);
}

/** A manifest is stored: 201, the right digest, its subject, and a `Location` that gives the same back. */
async function expectPushed(context: Context, manifest: Manifest, answer: Exchange): Promise<void> {
  expectStatus(answer, 201);
  expectDigest(answer, manifest.digest, false);
  if (manifest.referrer !== undefined) expectHeaderIs(answer, 'OCI-Subject', manifest.referrer.subject);
  const pulled = await context.get(locationOf(context, answer), { Accept: manifest.mediaType });
  expectStatus(pulled, 200);
  expectHeaderIs(pulled, 'Content-Type', manifest.mediaType);
  expectHeaderIs(pulled, 'Content-Length', String(manifest.bytes.length));
  expectBody(pulled, manifest.bytes);
}

function readSteps(set: DataSet, way: 'head' | 'pull', tagged: boolean): readonly Step[] {
  const read = async (context: Context, manifest: Manifest, reference: string): Promise<void> => {
    const target = path.manifest(context.repository, reference);
    const headers = { Accept: manifest.mediaType };
    const answer = await (way === 'head' ? context.head(target, headers) : context.get(target, headers));
    expectStatus(answer, 200);
    expectHeaderIs(answer, 'Content-Type', manifest.mediaType);
    expectHeaderIs(answer, 'Content-Length', String(manifest.bytes.length));
    expectDigest(answer, manifest.digest, context.digestRequired);
    if (way === 'head') expectNoBody(answer);
    else expectBody(answer, manifest.bytes);
  };
  const byTag: Step = {
    name: `${way}/manifest-by-tag`,
    run: async (context) => {
      await checkEach(tagsOf(set), ({ manifest, tag }) => read(context, manifest, tag));
    },
  };
  const byDigest: Step = {
    name: `${way}/manifest-by-digest`,
    run: async (context) => {
      await checkEach(set.manifests, (manifest) => read(context, manifest, manifest.digest));
    },
  };
  const blobs: Step = {
    name: `${way}/blob`,
    run: async (context) => {
      await checkEach(set.blobs, async (blob) => {
        const target = path.blob(context.repository, blob.digest);
        const answer = await (way === 'head' ? context.head(target) : context.get(target));
        expectStatus(answer, 200);
        expectHeaderIs(answer, 'Content-Length', String(blob.bytes.length));
        expectDigest(answer, blob.digest, context.digestRequired);
        if (way === 'head') expectNoBody(answer);
        else expectBody(answer, blob.bytes);
      });
    },
  };
  return [...(tagged ? [needingTags(set, byTag)] : []), byDigest, ...(set.blobs.length > 0 ? [blobs] : [])];
}
