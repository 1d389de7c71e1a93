/** What only the specification's suite up to 1.1.1 asks of discovery and management. */
import { errorCodes, expectHeaderIs, expectStatus, expectThat, isObject, Unsupported } from './check.ts';
import { withQuery } from './client.ts';
import { path } from './context.ts';
import type { Context } from './context.ts';
import { header, text } from './exchange.ts';
import { newBlob, pushBlob, pushManifest } from './push.ts';
import { expectIndex } from './referrers.ts';
import { Kept } from './scenario.ts';
import type { Scenario } from './scenario.ts';
import { descriptor, manifestOf, pushEmptyConfig } from './small-manifest.ts';
import type { SmallManifest } from './small-manifest.ts';
import { expectTags } from './tags.ts';
import { TYPE } from './vocabulary.ts';

const TYPES = ['application/vnd.example.one', 'application/vnd.example.two'] as const;

/** Five referrers of one subject, two of one type and three of another, with one annotation each. */
async function pushFive(context: Context, repository: string): Promise<SmallManifest> {
  const subject = await manifestOf(context, repository);
  await pushManifest(context, repository, 'subject', subject.bytes);
  const config = await pushEmptyConfig(context, repository);
  const layer = newBlob();
  await pushBlob(context, repository, layer);
  const common = {
    schemaVersion: 2,
    subject: { ...descriptor(subject, TYPE.image) },
  };
  for (const one of [0, 1, 2, 3]) {
    const artifact = {
      ...common,
      mediaType: TYPE.image,
      artifactType: TYPES[one % 2],
      config,
      layers: [descriptor(layer, TYPE.octets)],
      annotations: { 'org.example.referrer': `number ${one}` },
    };
    const bytes = Buffer.from(JSON.stringify(artifact));
    await pushManifest(context, repository, `referrer-${one}`, bytes);
  }
  const index = {
    ...common,
    mediaType: TYPE.index,
    artifactType: TYPES[0],
    manifests: [descriptor(subject, TYPE.image)],
    annotations: { 'org.example.referrer': 'index' },
  };
  await pushManifest(context, repository, 'referrer-index', JSON.stringify(index), TYPE.index);
  return subject;
}

async function missingSubject(context: Context): Promise<void> {
  const repository = context.fresh('missing-subject');
  const missing = newBlob();
  const { bytes } = await manifestOf(context, repository, {
    more: { subject: descriptor(missing, TYPE.image) },
  });
  await pushManifest(context, repository, 'referrer', bytes);
  const answer = await context.get(path.referrers(repository, missing.digest));
  expectThat(expectIndex(answer).length === 1, 'a list of exactly one', answer);
}

/** Discovery and management. */
export function previousContent(): Scenario {
  const subject = new Kept<SmallManifest>('subject');
  const managed = new Kept<SmallManifest>('manifest');
  const repository = (context: Context): string => context.fresh('discovery');
  return {
    name: 'OCI 1.1.1 suite',
    basis: 'previous',
    steps: [
      {
        name: 'discovery/push five referrers',
        run: async (context) => {
          subject.set(await pushFive(context, repository(context)));
        },
      },
      {
        name: 'discovery/referrers are exactly these five, with one annotation each',
        run: async (context) => {
          const answer = await context.get(path.referrers(repository(context), subject.get().digest));
          const listed = expectIndex(answer);
          expectThat(listed.length === 5, 'a list of exactly five', answer);
          const single = ({ annotations }: Readonly<Record<string, unknown>>): boolean =>
            isObject(annotations) && Object.keys(annotations).length === 1;
          expectThat(listed.every(single), 'exactly one annotation each', answer);
        },
      },
      {
        name: 'discovery/referrers of one type',
        run: async (context) => {
          const target = path.referrers(repository(context), subject.get().digest);
          const answer = await context.get(withQuery(target, { artifactType: TYPES[0] }));
          const listed = expectIndex(answer);
          if (header(answer, 'oci-filters-applied') === undefined) throw new Unsupported('no filter');
          expectHeaderIs(answer, 'OCI-Filters-Applied', 'artifactType');
          expectThat(listed.length === 3, 'a list of exactly three', answer);
        },
      },
      { name: 'discovery/referrers of a missing subject', run: missingSubject },
      {
        name: 'discovery/tags: n and last',
        run: async (context) => {
          const tags = path.tags(repository(context));
          const all = expectTags(await context.get(tags));
          const some = await context.get(withQuery(tags, { n: '4' }));
          expectThat(expectTags(some).length === 4, 'exactly four tags', some);
          const rest = await context.get(withQuery(tags, { n: '4', last: all[3] ?? '' }));
          expectThat(
            expectTags(rest).join(' ') === all.slice(4, 8).join(' '),
            'the tags after the fourth',
            rest,
          );
        },
      },
      {
        name: 'management/DELETE of a tag is 202, 400 with UNSUPPORTED, or 405',
        run: async (context) => {
          const name = context.fresh('managed');
          managed.set(await manifestOf(context, name));
          for (const tag of ['keep', 'drop']) await pushManifest(context, name, tag, managed.get().bytes);
          const answer = await context.delete(path.manifest(name, 'drop'));
          expectStatus(answer, 202, 400, 405);
          if (answer.status === 400)
            expectThat(
              errorCodes(text(answer))?.includes('UNSUPPORTED') === true,
              'the code UNSUPPORTED',
              answer,
            );
          if (answer.status !== 202) throw new Unsupported('the registry does not delete tags');
        },
      },
      {
        name: 'management/the number of tags drops by exactly one',
        needs: 'management/DELETE of a tag is 202, 400 with UNSUPPORTED, or 405',
        run: async (context) => {
          const answer = await context.get(path.tags(context.fresh('managed')));
          expectThat(expectTags(answer).join(' ') === 'keep', 'exactly the tag that is left', answer);
        },
      },
      {
        name: 'management/DELETE of a manifest, then 404 by digest and by tag',
        run: async (context) => {
          const name = context.fresh('managed');
          const answer = await context.delete(path.manifest(name, managed.get().digest));
          if (answer.status === 400 || answer.status === 405) throw new Unsupported('no deletion');
          expectStatus(answer, 202);
          for (const reference of [managed.get().digest, 'keep'])
            expectStatus(await context.get(path.manifest(name, reference), { Accept: TYPE.image }), 404);
        },
      },
      {
        name: 'management/DELETE of blobs, then 404',
        run: async (context) => {
          const name = context.fresh('managed');
          for (const { digest } of [managed.get().config, ...managed.get().layers]) {
            const answer = await context.delete(path.blob(name, digest));
            if (answer.status === 405) throw new Unsupported('no deletion');
            expectStatus(answer, 202, 404);
            expectStatus(await context.get(path.blob(name, digest)), 404);
          }
        },
      },
    ],
  };
}
