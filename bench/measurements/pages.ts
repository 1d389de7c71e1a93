import { mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import type { Bench, Measurement } from '../harness/bench.ts';
import { linkLayer, linkTags, repositoryFolder, storeImage } from '../harness/content.ts';
import type { Image } from '../harness/content.ts';
import { dockerRegistry, entrepot } from '../harness/contenders.ts';
import { requestOk } from '../harness/http.ts';
import { interleave } from '../harness/rounds.ts';
import { comparison } from '../harness/row.ts';
import type { Row } from '../harness/row.ts';
import type { Server } from '../harness/server.ts';
import { load } from '../harness/wrk.ts';

const PAGE = 100;

/** The mean time of a page over one connection, in seconds. */
function pageTime(bench: Bench, server: Server, path: string): () => Promise<number> {
  return async () => {
    const seconds = Math.ceil(bench.scale.loadSeconds / 2);
    const result = await load({ origin: server.origin, targets: [path], connections: 1, seconds });
    return result.seconds / result.requests;
  };
}

/** Fails unless the page has exactly `PAGE` names from `first` on: a fast wrong answer is no result. */
async function checkPage(
  server: Server,
  path: string,
  key: 'tags' | 'repositories',
  first: string,
): Promise<void> {
  const { body } = await requestOk('GET', server.origin + path, 200);
  const answer = JSON.parse(body.toString()) as Partial<Record<typeof key, readonly string[]>>;
  const names = answer[key] ?? [];
  if (names.length !== PAGE || names[0] !== first) {
    throw new Error(
      `${server.name}: ${path} gave ${names.length} names from ${names[0]}, not ${PAGE} from ${first}`,
    );
  }
}

/** Asks for a page a few times, so that what it takes is in the kernel's caches. */
async function warm(server: Server, path: string): Promise<void> {
  for (let time = 0; time < 5; time++) await requestOk('GET', server.origin + path, 200);
}

/** The time of a page that both servers have in the kernel's caches. */
async function besideThePeer(
  bench: Bench,
  { ours, registry }: { readonly ours: Server; readonly registry: Server },
  path: string,
  work: string,
): Promise<Row> {
  for (const server of [ours, registry]) await warm(server, path);
  const runs = { ours: pageTime(bench, ours, path), registry: pageTime(bench, registry, path) };
  const samples = await interleave(bench.rounds, runs, 'done');
  return comparison({
    work,
    unit: 's',
    ours: samples.ours,
    peer: { name: 'docker-registry', samples: samples.registry },
    ratio: 'speed',
    bound: { kind: 'at least', value: 20 },
  });
}

const numbered = (prefix: string, number: number, width: number): string =>
  prefix + String(number).padStart(width, '0');

/** A page of tags. `docker-registry` 2.8 knows no pages of tags and answers with all of them. */
export const tagPages: Measurement = {
  name: 'tags',
  async run(bench) {
    const { tags: count } = bench.scale;
    const place = await bench.place('entrepot');
    const peerPlace = await bench.place('docker-registry');
    const tags = Array.from({ length: count }, (_, tag) => numbered('v1.', tag, 6));
    for (const { root } of [place, peerPlace]) await storeImage(root, 'library/tags', tags);
    const ours = await bench.start(entrepot(place));
    const registry = await bench.start(dockerRegistry(peerPlace));
    const rows: Row[] = [];
    for (const [page, after] of [
      ['first', -1],
      ['middle', count / 2],
    ] as const) {
      const last = after < 0 ? '' : `&last=${tags[after]}`;
      const path = `/v2/library/tags/tags/list?n=${PAGE}${last}`;
      // A registry in Entrepot's place may be one that has no pages of tags either.
      if (process.env['ENTREPOT_BENCH_COMMAND'] === undefined) {
        await checkPage(ours, path, 'tags', tags[after + 1] ?? '');
      }
      const work = `${page} page of ${PAGE} from ${count} tags`;
      rows.push(await besideThePeer(bench, { ours, registry }, path, work));
    }
    return rows;
  },
};

type Shape = 'flat' | 'nested';

/** `flat`: all side by side. `nested`: `org/team/name`, 100 names in a team and 10 teams in an organisation. */
function repositoryName(shape: Shape, number: number): string {
  const flat = numbered('app-', number, 6);
  if (shape === 'flat') return flat;
  const team = Math.floor(number / 100);
  return `${numbered('org-', Math.floor(team / 10), 4)}/${numbered('team-', team % 10, 2)}/${flat}`;
}

/** Puts `count` repositories into a content folder, which all hold one image. */
async function storeRepositories(root: string, shape: Shape, count: number): Promise<void> {
  const image: Image = await storeImage(root, repositoryName(shape, 0), ['latest']);
  const [layer = ''] = image.layers;
  for (let number = 1; number < count; number++) {
    linkLayer(root, repositoryName(shape, number), layer);
    linkTags(root, repositoryName(shape, number), image.digest, []);
  }
}

/** Turns a flat content folder into a nested one: a rename each, where making it anew would be eight folders each. */
function nest(root: string, count: number): void {
  for (let number = 0; number < count; number++) {
    const to = join(root, repositoryFolder(repositoryName('nested', number)));
    if (number % 100 === 0) mkdirSync(join(to, '..'), { recursive: true });
    renameSync(join(root, repositoryFolder(repositoryName('flat', number))), to);
  }
}

function catalogPath(shape: Shape, after: number): string {
  const last = after < 0 ? '' : `&last=${encodeURIComponent(repositoryName(shape, after))}`;
  return `/v2/_catalog?n=${PAGE}${last}`;
}

/** A page of the catalog, beside `docker-registry`. */
export const catalogPages: Measurement = {
  name: 'catalog',
  async run(bench) {
    const { repositories: count } = bench.scale;
    const place = await bench.place('entrepot');
    const peerPlace = await bench.place('docker-registry');
    for (const { root } of [place, peerPlace]) await storeRepositories(root, 'flat', count);
    const ours = await bench.start(entrepot(place));
    const registry = await bench.start(dockerRegistry(peerPlace));
    const rows: Row[] = [];
    for (const [page, after] of [
      ['first', -1],
      ['middle', count / 2],
    ] as const) {
      const path = catalogPath('flat', after);
      for (const server of [ours, registry]) {
        await checkPage(server, path, 'repositories', repositoryName('flat', after + 1));
      }
      const work = `${page} page of ${PAGE} from ${count} repositories`;
      rows.push(await besideThePeer(bench, { ours, registry }, path, work));
    }
    return rows;
  },
};

/**
 * A page of a large catalog against the same page of a small one, both served by Entrepot. "The same time" is taken
 * as up to 1.25 x: less than the noise of one round, far from the 67 x of a walk over everything.
 */
export const largeCatalog: Measurement = {
  name: 'large-catalog',
  async run(bench) {
    const { repositories: few, manyRepositories: many } = bench.scale;
    const rows: Row[] = [];
    const large = await bench.place('large');
    await storeRepositories(large.root, 'flat', many);
    for (const shape of ['flat', 'nested'] as const) {
      if (shape === 'nested') nest(large.root, many);
      const small = await bench.place(`small-${shape}`);
      await storeRepositories(small.root, shape, few);
      const inLarge = await bench.start(entrepot(large));
      const inSmall = await bench.start(entrepot(small));
      for (const [page, part] of [
        ['first', 0],
        ['middle', 0.5],
      ] as const) {
        const [largeAfter, smallAfter] = [many, few].map((count) => Math.floor(count * part) - 1);
        const largePath = catalogPath(shape, largeAfter ?? -1);
        const smallPath = catalogPath(shape, smallAfter ?? -1);
        await checkPage(inLarge, largePath, 'repositories', repositoryName(shape, (largeAfter ?? -1) + 1));
        await checkPage(inSmall, smallPath, 'repositories', repositoryName(shape, (smallAfter ?? -1) + 1));
        await warm(inLarge, largePath);
        await warm(inSmall, smallPath);
        const samples = await interleave(
          bench.rounds,
          {
            large: pageTime(bench, inLarge, largePath),
            small: pageTime(bench, inSmall, smallPath),
          },
          'done',
        );
        rows.push(
          comparison({
            work: `${page} page of ${PAGE} from ${many} repositories, ${shape}`,
            unit: 's',
            ours: samples.large,
            peer: { name: `entrepot with ${few}`, samples: samples.small },
            ratio: 'cost',
            bound: { kind: 'at most', value: 1.25 },
          }),
        );
      }
      await bench.close();
    }
    return rows;
  },
};
