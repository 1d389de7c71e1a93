import { checkEach, expectStatus, Unsupported } from './check.ts';
import { path } from './context.ts';
import type { Context } from './context.ts';
import type { DataSet } from './data-set.ts';
import type { Step } from './scenario.ts';

/** Deletes a data set: tags, then manifests with parents first, then blobs; each must be gone at once. */
export function deletionSteps(set: DataSet): readonly Step[] {
  const tags = set.manifests.flatMap((manifest) => manifest.tags);
  const tagDelete: Step = {
    name: 'delete/tag-delete',
    run: async (context) => {
      await checkEach(tags, (tag) => expectDeletes(context, path.manifest(context.repository, tag)));
    },
  };
  const manifestDelete: Step = {
    name: 'delete/manifest-delete',
    run: async (context) => {
      await checkEach(set.manifests.toReversed(), ({ digest }) =>
        expectDeletes(context, path.manifest(context.repository, digest)),
      );
    },
  };
  const blobDelete: Step = {
    name: 'delete/blob-delete',
    run: async (context) => {
      await checkEach(set.blobs, ({ digest }) =>
        expectDeletes(context, path.blob(context.repository, digest)),
      );
    },
  };
  return [
    ...(tags.length > 0 ? [tagDelete] : []),
    manifestDelete,
    ...(set.blobs.length > 0 ? [blobDelete] : []),
  ];
}

/** 202 (or 404 for what is gone already), and 404 to a HEAD that follows at once; 400 and 405 mean "disabled". */
async function expectDeletes(context: Context, target: string): Promise<void> {
  const answer = await context.delete(target);
  if (answer.status === 400 || answer.status === 405)
    throw new Unsupported('the registry does not delete this');
  expectStatus(answer, 202, 404);
  expectStatus(await context.head(target), 404);
}
