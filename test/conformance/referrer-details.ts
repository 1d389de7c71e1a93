/** The referrers API beyond what the specification's suites ask. */
import { expectError, expectHeaderIs, expectNoBody, expectStatus, expectThat, Unsupported } from './check.ts';
import { withQuery } from './client.ts';
import { path } from './context.ts';
import type { Context } from './context.ts';
import { DataSet } from './data-set.ts';
import { header } from './exchange.ts';
import { allPages } from './paging.ts';
import { pushBlob, pushManifest } from './push.ts';
import { expectIndex, expectReferrers } from './referrers.ts';
import type { Scenario } from './scenario.ts';
import { MANIFEST_LIMIT, TYPE } from './vocabulary.ts';

const TYPES = ['application/vnd.example.a', 'application/vnd.example.b'] as const;

/** Pushes a whole data set to a repository. */
async function pushAll(context: Context, repository: string, set: DataSet): Promise<void> {
  for (const blob of set.blobs) await pushBlob(context, repository, blob);
  for (const one of set.manifests)
    await pushManifest(context, repository, one.digest, one.bytes, one.mediaType);
}

/** A subject with `count` referrers of alternating types. */
function family(
  count: number,
  more: Readonly<Record<string, unknown>> = {},
): { set: DataSet; subject: string } {
  const set = new DataSet('family');
  const subject = set.image();
  for (let one = 0; one < count; one++)
    set.artifact(TYPES[one % 2] ?? TYPES[0], { more: { subject, ...more } });
  return { set, subject: subject.digest };
}

/** The tests. Each has a repository of its own. */
export function referrerDetails(): Scenario {
  const paged = family(7);
  const target = (
    context: Context,
    query: Readonly<Record<string, string | readonly string[]>> = {},
  ): string => withQuery(path.referrers(context.fresh('referrers'), paged.subject), query);
  return {
    name: 'beyond/referrers',
    basis: 'spec',
    steps: [
      { name: 'push seven', run: (context) => pushAll(context, context.fresh('referrers'), paged.set) },
      {
        name: 'Link by Link with n=2 gives everything once',
        basis: 'ours',
        run: async (context) => {
          const pages = await allPages(context, target(context, { n: '2' }), expectIndex);
          const digests = pages.flatMap(({ items }) => items.map((entry) => String(entry['digest'])));
          if (pages.length === 1) throw new Unsupported('the registry does not page referrers by n');
          expectThat(
            pages.every(({ items }) => items.length <= 2),
            'at most two a page',
            pages[0]?.answer,
          );
          const once = digests.length === 7 && new Set(digests).size === 7;
          expectThat(once, 'all seven, each once', pages.at(-1)?.answer);
        },
      },
      {
        name: 'the filter comes before paging and stays in the Link',
        basis: 'ours',
        run: async (context) => {
          const pages = await allPages(
            context,
            target(context, { n: '1', artifactType: TYPES[0] }),
            expectIndex,
          );
          const entries = pages.flatMap(({ items }) => items);
          for (const { answer } of pages) expectHeaderIs(answer, 'OCI-Filters-Applied', 'artifactType');
          const right = entries.length === 4 && entries.every((entry) => entry['artifactType'] === TYPES[0]);
          expectThat(right, `the four of the type ${TYPES[0]}`, pages.at(-1)?.answer);
          expectThat(pages.length >= 4, 'one a page', pages[0]?.answer);
        },
      },
      {
        name: 'repeated artifactType means either',
        basis: 'ours',
        run: async (context) => {
          const answer = await context.get(target(context, { artifactType: TYPES }));
          expectThat(expectIndex(answer).length === 7, 'all seven', answer);
          expectHeaderIs(answer, 'OCI-Filters-Applied', 'artifactType');
        },
      },
      {
        name: 'without a filter there is no OCI-Filters-Applied',
        run: async (context) => {
          const answer = await context.get(target(context));
          expectThat(header(answer, 'oci-filters-applied') === undefined, 'no OCI-Filters-Applied', answer);
          expectThat(expectIndex(answer).length === 7, 'all seven', answer);
        },
      },
      {
        name: 'a filter that nothing matches gives an empty list',
        run: async (context) => {
          const answer = await context.get(target(context, { artifactType: 'application/vnd.example.none' }));
          const listed = expectIndex(answer);
          if (header(answer, 'oci-filters-applied') === undefined) throw new Unsupported('no filter');
          expectThat(listed.length === 0, 'an empty list', answer);
        },
      },
      {
        name: 'a malformed digest is 400',
        run: async (context) => {
          for (const digest of ['sha256:abc', `sha256:${'A'.repeat(64)}`, 'sha256', 'latest'])
            expectError(
              await context.get(path.referrers(context.fresh('referrers'), digest)),
              400,
              'DIGEST_INVALID',
            );
        },
      },
      ...(['-1', 'abc', '1e99'] as const).map((n) => ({
        name: `n=${n} is 400`,
        basis: 'ours' as const,
        run: async (context: Context) => {
          expectError(await context.get(target(context, { n })), 400);
        },
      })),
      {
        name: 'HEAD',
        basis: 'ours',
        run: async (context) => {
          const answer = await context.head(target(context));
          expectStatus(answer, 200);
          expectNoBody(answer);
          expectHeaderIs(answer, 'Content-Type', TYPE.index);
        },
      },
      {
        name: 'a deleted referrer disappears at once and comes back when pushed again',
        run: deletedReferrer,
      },
      { name: 'pushing a referrer twice lists it once', run: pushedTwice },
      { name: 'deleting the subject keeps the list', run: deletedSubject },
      { name: 'an index without artifactType has none in the list', run: plainIndex },
      { name: 'hostile annotations come back as they are', basis: 'ours', run: hostileAnnotations },
      { name: 'a list that does not fit into one manifest is split', run: largeList },
      { name: 'a subject of another repository is not mixed in', run: otherRepository },
    ],
  };
}

async function deletedReferrer(context: Context): Promise<void> {
  const repository = context.fresh('referrer-deleted');
  const { set, subject } = family(2);
  await pushAll(context, repository, set);
  const [first, second] = set.manifests.filter((one) => one.referrer !== undefined);
  if (first?.referrer === undefined || second?.referrer === undefined)
    throw new Error('no referrers were made');
  const answer = await context.delete(path.manifest(repository, first.digest));
  if (answer.status === 405) throw new Unsupported('the registry does not delete manifests');
  expectStatus(answer, 202);
  const list = await context.get(path.referrers(repository, subject));
  expectThat(expectReferrers(list, [second.referrer]).length === 1, 'only the other one', list);
  await pushManifest(context, repository, first.digest, first.bytes, first.mediaType);
  expectReferrers(await context.get(path.referrers(repository, subject)), [first.referrer, second.referrer]);
}

async function pushedTwice(context: Context): Promise<void> {
  const repository = context.fresh('referrer-twice');
  const { set, subject } = family(1);
  await pushAll(context, repository, set);
  const [referrer] = set.manifests.filter((one) => one.referrer !== undefined);
  for (const reference of ['one', 'two'])
    await pushManifest(context, repository, reference, referrer?.bytes ?? '', referrer?.mediaType);
  const list = await context.get(path.referrers(repository, subject));
  expectThat(expectIndex(list).length === 1, 'a list of exactly one', list);
}

async function deletedSubject(context: Context): Promise<void> {
  const repository = context.fresh('subject-deleted');
  const { set, subject } = family(2);
  await pushAll(context, repository, set);
  const answer = await context.delete(path.manifest(repository, subject));
  if (answer.status === 405) throw new Unsupported('the registry does not delete manifests');
  expectStatus(answer, 202);
  const list = await context.get(path.referrers(repository, subject));
  expectThat(expectIndex(list).length === 2, 'both referrers, which are still there', list);
}

async function plainIndex(context: Context): Promise<void> {
  const repository = context.fresh('index-referrer');
  const set = new DataSet('index');
  const subject = set.image();
  set.index([subject], { more: { subject } });
  await pushAll(context, repository, set);
  const list = await context.get(path.referrers(repository, subject.digest));
  expectReferrers(
    list,
    set.manifests.flatMap((one) => one.referrer ?? []),
  );
  expectThat(
    expectIndex(list).every((entry) => !('artifactType' in entry)),
    'no artifactType',
    list,
  );
}

async function hostileAnnotations(context: Context): Promise<void> {
  const repository = context.fresh('annotations');
  const set = new DataSet('annotations');
  const subject = set.image();
  const annotations: unknown = JSON.parse(
    '{"__proto__":"polluted","constructor":"x","toString":"y","":"empty key","<script>":"\\u0000\\r\\n\\"</script>"}',
  );
  set.artifact(TYPES[0], { more: { subject, annotations } });
  await pushAll(context, repository, set);
  const list = await context.get(path.referrers(repository, subject.digest));
  const [entry] = expectIndex(list);
  const same = JSON.stringify(entry?.['annotations']) === JSON.stringify(annotations);
  expectThat(same, `the annotations ${JSON.stringify(annotations)}`, list);
}

async function largeList(context: Context): Promise<void> {
  const repository = context.fresh('large-list');
  const count = 12;
  const { set, subject } = family(count, { annotations: { 'com.example.large': 'x'.repeat(500_000) } });
  await pushAll(context, repository, set);
  const pages = await allPages(context, path.referrers(repository, subject), expectIndex);
  const digests = new Set(pages.flatMap(({ items }) => items.map((entry) => entry['digest'])));
  expectThat(digests.size === count, `all ${count} over all pages`, pages.at(-1)?.answer);
  for (const { answer } of pages)
    expectThat(
      answer.body.length <= MANIFEST_LIMIT,
      'pages of at most 4 MiB, more than which clients refuse',
      answer,
    );
}

async function otherRepository(context: Context): Promise<void> {
  const { set, subject } = family(1);
  await pushAll(context, context.fresh('referrer-home'), set);
  const list = await context.get(path.referrers(context.fresh('referrer-elsewhere'), subject));
  expectThat(expectIndex(list).length === 0, 'an empty list in a repository without that referrer', list);
}
