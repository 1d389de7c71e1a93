import { expectHeaderIs, expectJson, expectStatus, expectThat, isObject, Unsupported } from './check.ts';
import { withQuery } from './client.ts';
import { path } from './context.ts';
import type { Context } from './context.ts';
import type { DataSet, ReferrerEntry } from './data-set.ts';
import { header } from './exchange.ts';
import type { Exchange } from './exchange.ts';
import type { Step } from './scenario.ts';
import { TYPE } from './vocabulary.ts';

type Entry = Readonly<Record<string, unknown>>;

/** The referrers of a data set's subjects: all of them, as described; and filtered by each type. */
export function referrerSteps(set: DataSet): readonly Step[] {
  const entries = set.manifests.flatMap((manifest) => manifest.referrer ?? []);
  const run = async (context: Context): Promise<void> => {
    for (const subject of new Set(entries.map((entry) => entry.subject))) {
      const own = entries.filter((entry) => entry.subject === subject);
      const answer = await context.get(path.referrers(context.repository, subject));
      expectReferrers(answer, own);
      for (const type of new Set(own.map((entry) => entry.artifactType)))
        if (type !== undefined) await expectFiltered(context, subject, type, own);
    }
  };
  return [{ name: 'referrers', run }];
}

/** A referrers list: 200, an index of that type; its descriptors are returned. */
export function expectIndex(answer: Exchange): readonly Entry[] {
  expectStatus(answer, 200);
  expectHeaderIs(answer, 'Content-Type', TYPE.index);
  const index = expectJson(answer);
  expectThat(index['schemaVersion'] === 2, 'schemaVersion 2', answer);
  expectThat(index['mediaType'] === TYPE.index, `mediaType ${TYPE.index}`, answer);
  const manifests: unknown = index['manifests'];
  expectThat(Array.isArray(manifests), 'manifests to be a list', answer);
  return manifests.map((entry: unknown) => {
    expectThat(isObject(entry), 'manifests to be a list of descriptors', answer);
    return entry;
  });
}

/** Every one of these must be in the list exactly once, as the specification describes it. */
export function expectReferrers(answer: Exchange, expected: readonly ReferrerEntry[]): readonly Entry[] {
  const listed = expectIndex(answer);
  for (const one of expected) {
    const { digest, mediaType, size } = one.descriptor;
    const found = listed.filter((entry) => entry['digest'] === digest);
    expectThat(found.length === 1, `${digest} exactly once`, answer);
    const [entry = {}] = found;
    expectThat(
      entry['mediaType'] === mediaType && entry['size'] === size,
      `mediaType ${mediaType}, size ${size}`,
      answer,
    );
    expectThat(
      entry['artifactType'] === one.artifactType,
      `artifactType ${one.artifactType ?? 'omitted'}`,
      answer,
    );
    expectAnnotations(answer, entry['annotations'], one.annotations);
  }
  return listed;
}

function expectAnnotations(
  answer: Exchange,
  value: unknown,
  expected: Readonly<Record<string, string>>,
): void {
  const annotations: Entry = isObject(value) ? value : {};
  const same =
    Object.keys(annotations).length === Object.keys(expected).length &&
    Object.entries(expected).every(
      ([key, text]) => Object.hasOwn(annotations, key) && annotations[key] === text,
    );
  expectThat(same, `the annotations ${JSON.stringify(expected)}`, answer);
}

async function expectFiltered(
  context: Context,
  subject: string,
  type: string,
  all: readonly ReferrerEntry[],
): Promise<void> {
  const target = withQuery(path.referrers(context.repository, subject), { artifactType: type });
  const answer = await context.get(target);
  const matching = all.filter((entry) => entry.artifactType === type);
  const applied = header(answer, 'oci-filters-applied');
  const listed = expectReferrers(answer, matching);
  if (applied === undefined) throw new Unsupported('the registry does not filter referrers');
  expectHeaderIs(answer, 'OCI-Filters-Applied', 'artifactType');
  const strangers = listed.filter((entry) => entry['artifactType'] !== type);
  expectThat(strangers.length === 0, `only referrers of the type ${type}`, answer);
}
