/** The rest of the specification's suite: what is missing, and what is no digest; and content made beforehand. */
import { digestOf, expectDigest, expectStatus } from './check.ts';
import { path } from './context.ts';
import { DataSet } from './data-set.ts';
import { badDigestDataSet } from './data-sets.ts';
import { blobPushStep } from './manifests.ts';
import { newBlob, pushBlob, pushManifest, putManifest } from './push.ts';
import type { Scenario, Step } from './scenario.ts';
import { expectTags } from './tags.ts';
import { TYPE } from './vocabulary.ts';

const BAD_DIGEST = 'sha256:baddigeststring';

/** The scenarios, with new content. */
export function referenceScenarios(): readonly Scenario[] {
  return [badDigestImage(), readOnly(), missingManifest, invalidDigest];
}

function badDigestImage(): Scenario {
  const set = badDigestDataSet();
  const push: Step = {
    name: 'push/manifest-by-digest',
    run: async (context) => {
      for (const manifest of set.manifests) {
        const bytes = Buffer.concat([manifest.bytes, Buffer.from('  ')]);
        const answer = await putManifest(
          context,
          context.repository,
          manifest.digest,
          bytes,
          manifest.mediaType,
        );
        expectStatus(answer, 400);
        expectStatus(await context.head(path.manifest(context.repository, manifest.digest)), 404);
        expectStatus(await context.head(path.manifest(context.repository, digestOf(bytes))), 404);
      }
    },
  };
  return { name: 'OCI Conformance Test/bad-digest-image', basis: 'suite', steps: [blobPushStep(set), push] };
}

/** Reads content that it did not push itself; the suite has a setting for it, here a first step pushes it. */
function readOnly(): Scenario {
  const set = new DataSet('read-only');
  set.image({ tags: ['read-only'] });
  const steps: readonly Step[] = [
    {
      name: 'prepare',
      run: async (context) => {
        for (const blob of set.blobs) await pushBlob(context, context.repository, blob);
        for (const manifest of set.manifests)
          await pushManifest(context, context.repository, 'read-only', manifest.bytes);
      },
    },
    {
      name: 'tag-list',
      run: async (context) => {
        expectTags(await context.get(path.tags(context.repository)));
      },
    },
    ...(['head', 'pull'] as const).map((way): Step => ({
      name: way,
      run: async (context) => {
        const method = way === 'head' ? 'HEAD' : 'GET';
        const manifests = set.manifests.flatMap(({ digest }) =>
          ['read-only', digest].map((one) => ({ one, digest })),
        );
        for (const { one, digest } of manifests) {
          const headers = { Accept: TYPE.image };
          const answer = await context.send(method, path.manifest(context.repository, one), { headers });
          expectStatus(answer, 200);
          expectDigest(answer, digest, context.digestRequired);
        }
        for (const { digest } of set.blobs)
          expectStatus(await context.send(method, path.blob(context.repository, digest)), 200);
      },
    })),
    {
      name: 'referrers',
      run: async (context) => {
        for (const { digest } of set.manifests)
          expectStatus(await context.get(path.referrers(context.repository, digest)), 200);
      },
    },
  ];
  return { name: 'OCI Conformance Test/read-only', basis: 'suite', steps };
}

const missingManifest: Scenario = {
  name: 'OCI Conformance Test/missing-manifest',
  basis: 'suite',
  steps: [
    {
      name: 'by-digest',
      run: async (context) => {
        const target = path.manifest(context.repository, newBlob().digest);
        expectStatus(await context.get(target, { Accept: TYPE.image }), 404);
      },
    },
    {
      name: 'by-tag',
      run: async (context) => {
        const target = path.manifest(context.repository, `missing-${context.run}`);
        expectStatus(await context.get(target, { Accept: TYPE.image }), 404);
      },
    },
  ],
};

const invalidDigest: Scenario = {
  name: 'OCI Conformance Test/invalid-digest-format',
  basis: 'suite',
  steps: [
    {
      name: 'manifest-put',
      run: async (context) => {
        const set = new DataSet('invalid-digest-format');
        set.image();
        for (const blob of set.blobs) await pushBlob(context, context.repository, blob);
        for (const manifest of set.manifests)
          expectStatus(await putManifest(context, context.repository, BAD_DIGEST, manifest.bytes), 400);
      },
    },
    {
      name: 'manifest-get',
      run: async (context) => {
        expectStatus(await context.get(path.manifest(context.repository, BAD_DIGEST)), 404, 400);
      },
    },
  ],
};
