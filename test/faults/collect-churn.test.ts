/**
 * The collector beside clients that push, tag anew, mount and delete, and is killed again and again; then at each of its
 * steps. `npm run churn` does the first for an hour.
 */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { spawn } from 'node:child_process';
import { cp, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pause } from '../harness/waiting.ts';
import { startDockerRegistry } from '../harness/docker-registry.ts';
import { type RunningRegistry, startEntrepot } from '../harness/entrepot.ts';
import { randomBytes } from '../harness/random-bytes.ts';
import { ask, digestBy, pushBlob, pushManifest, verifyImage } from '../harness/registry-client.ts';
import { requireTool, run } from '../harness/tools.ts';
import { FilesystemDriver } from '../../src/drivers/filesystem/filesystem-driver.ts';
import { DRIVER_FOLDER } from '../../src/store/layout.ts';
import { LocalRegistry } from '../../src/store/local-registry.ts';
import { RULES } from '../store/subject.ts';
import { collectOnce, isWhole } from '../upkeep/collecting.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';

const SECONDS = Number(process.env['ENTREPOT_CHURN_SECONDS'] ?? 12);
/** Milliseconds that a collector lives at most: in a long run some come to their end though the machine is busy. */
const LONGEST_LIFE = SECONDS > 60 ? 30_000 : 1_500;
const CLIENTS = 16;
const COLLECTOR = join(import.meta.dirname, 'collector.ts');
/** Milliseconds: a client's question keeps a layer for so long. */
const GRACE = 4_000;
/** Milliseconds by which the last collectors are ahead of time: nothing is young any more. */
const AHEAD = 10 * 60_000;

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const INDEX = 'application/vnd.oci.image.index.v1+json';

let workspace: Workspace;
beforeAll(async () => {
  workspace = await createWorkspace('churn');
});
afterAll(async () => {
  await workspace.remove();
});

/** One collector; SIGKILL ends it where it is. @returns its exit code, null when it was killed */
function collector(
  folder: string,
  args: readonly string[],
  { signal, under = [] }: { readonly signal?: AbortSignal; readonly under?: readonly string[] } = {},
): Promise<number | null> {
  const [command = '', ...rest] = [...under, process.execPath, COLLECTOR, folder, ...args];
  return new Promise((resolve, reject) => {
    const child = spawn(command, rest, { stdio: ['ignore', 'ignore', 'inherit'] });
    signal?.addEventListener('abort', () => child.kill('SIGKILL'));
    child.once('error', reject);
    child.once('exit', resolve);
  });
}

interface Described {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/** Brings a layer as clients do: asks for it, mounts it, or sends it. */
async function bring(url: string, repository: string, text: string, from?: string): Promise<Described> {
  const bytes = randomBytes(text, 3000);
  const digest = digestBy('sha256', bytes);
  const described = { mediaType: 'application/vnd.oci.image.layer.v1.tar', digest, size: bytes.length };
  const asked = await ask(url, `/v2/${repository}/blobs/${digest}`, [200, 404], { method: 'HEAD' });
  if (asked.status === 200) return described;
  if (from !== undefined) {
    const path = `/v2/${repository}/blobs/uploads/?mount=${digest}&from=${from}`;
    if ((await ask(url, path, [201, 202], { method: 'POST' })).status === 201) return described;
  }
  await pushBlob(url, repository, bytes);
  return described;
}

interface Told {
  /** The last digest that was acknowledged for `repository:tag`; undefined after its deletion. */
  readonly tags: Map<string, string | undefined>;
  pushes: number;
}

/** One client with tags of its own, in repositories that all share. */
async function client(url: string, number: number, end: number, told: Told): Promise<void> {
  for (let round = 0; Date.now() < end; round += 1) {
    const chance = (most: number) => Math.floor(Math.random() * most);
    const repository = `churn/r${chance(3)}`;
    const tag = `c${number}-${chance(3)}`;
    const key = `${repository}:${tag}`;
    const choice = chance(10);
    if (choice < 2) {
      const { status } = await ask(url, `/v2/${repository}/manifests/${tag}`, [202, 404], {
        method: 'DELETE',
      });
      if (status === 202) told.tags.set(key, undefined);
      continue;
    }
    const layers: Described[] = [];
    for (let layer = 0; layer < 3; layer += 1) {
      layers.push(await bring(url, repository, `layer ${chance(30)}`, `churn/r${chance(3)}`));
    }
    const config = {
      ...(await bring(url, repository, 'config')),
      mediaType: 'application/vnd.oci.image.config.v1+json',
    };
    const image = {
      schemaVersion: 2,
      mediaType: MANIFEST,
      config,
      layers,
      annotations: { round: `${number}/${round % 5}` },
    };
    const isIndex = choice < 5;
    const { digest, size } = await pushManifest(url, repository, isIndex ? undefined : tag, image);
    if (isIndex) {
      const manifests = [{ mediaType: MANIFEST, digest, size }];
      const index = await pushManifest(url, repository, tag, {
        schemaVersion: 2,
        mediaType: INDEX,
        manifests,
      });
      told.tags.set(key, index.digest);
    } else told.tags.set(key, digest);
    told.pushes += 1;
  }
}

/** A real client among them. */
async function skopeo(url: string, layout: string, end: number, told: Told): Promise<void> {
  const host = new URL(url).host;
  for (let round = 0; Date.now() < end; round += 1) {
    const target = `docker://${host}/churn/r${round % 3}:skopeo`;
    await run('skopeo', ['copy', '-q', '--dest-tls-verify=false', `oci:${layout}:v1`, target]);
    told.tags.set(`churn/r${round % 3}:skopeo`, '');
    told.pushes += 1;
  }
}

async function verify(url: string, told: Told): Promise<void> {
  for (const [key, digest] of told.tags) {
    const [repository = '', tag = ''] = key.split(':');
    if (digest === undefined) await ask(url, `/v2/${repository}/manifests/${tag}`, 404);
    else await verifyImage(url, repository, digest === '' ? tag : digest);
  }
}

/** Digests of all blobs in the storage. */
async function stored(folder: string): Promise<string[]> {
  const all = await readdir(join(folder, 'docker/registry/v2/blobs'), { recursive: true });
  return all
    .flatMap((path) => /^(sha\d+)\/..\/([0-9a-f]+)\/data$/.exec(path)?.slice(1).join(':') ?? [])
    .sort();
}

async function liveDigests(url: string, told: Told): Promise<string[]> {
  const live = new Set<string>();
  for (const [key, digest] of told.tags) {
    const [repository = '', tag = ''] = key.split(':');
    if (digest !== undefined) for (const one of await verifyImage(url, repository, tag)) live.add(one);
  }
  return [...live].sort();
}

test(
  `${CLIENTS} clients and a collector that is killed again and again: all that was acknowledged is whole, and nothing dead is left`,
  async () => {
    const folder = workspace.join('churn');
    const registry: RunningRegistry = await startEntrepot({
      dataDirectory: folder,
      workers: 2,
      config: {
        storage: { delete: { enabled: true } },
        garbage_collector: { enabled: false, grace: `${GRACE}ms` },
      },
    });
    const told: Told = { tags: new Map(), pushes: 0 };
    const layout = workspace.join('layout');
    requireTool('umoci');
    await run('umoci', ['init', '--layout', layout]);
    await run('umoci', ['new', '--image', `${layout}:v1`]);
    const end = Date.now() + SECONDS * 1000;
    let kills = 0;
    let whole = 0;
    const collecting = (async () => {
      while (Date.now() < end) {
        const killer = new AbortController();
        const timer = setTimeout(() => killer.abort(), 200 + Math.random() ** 3 * LONGEST_LIFE);
        const code = await collector(folder, [String(GRACE), '1'], { signal: killer.signal });
        if (code === null) kills += 1;
        else if (code === 0) whole += 1;
        clearTimeout(timer);
      }
    })();
    const clients = Array.from({ length: CLIENTS - 1 }, (_, number) =>
      client(registry.url, number, end, told),
    );
    await Promise.all([...clients, skopeo(registry.url, layout, end, told), collecting]);
    if (SECONDS > 60) process.stdout.write(`${told.pushes} pushes, ${whole} collections, ${kills} killed\n`);
    expect(kills).toBeGreaterThan(1);
    expect(told.pushes).toBeGreaterThan(CLIENTS);
    await verify(registry.url, told);
    await pause(GRACE + 200);
    expect(await collector(folder, [String(GRACE), '2', String(AHEAD)])).toBe(0);
    await verify(registry.url, told);
    expect(await stored(folder)).toEqual(await liveDigests(registry.url, told));
    await registry.stop();
    const peer = await startDockerRegistry({ dataDirectory: folder });
    await verify(peer.url, told);
    await peer.dispose();
  },
  (SECONDS + 120) * 1000,
);

test('a collector that is killed at each of its steps: what has to stay is whole, and the next run removes the rest', async () => {
  const original = workspace.join('original');
  const registry = await startEntrepot({
    dataDirectory: original,
    workers: 1,
    config: { storage: { delete: { enabled: true } } },
  });
  const push = async (repository: string, tag: string | undefined, texts: readonly string[]) => {
    const layers: Described[] = [];
    for (const text of texts) layers.push(await bring(registry.url, repository, text));
    const config = {
      ...(await bring(registry.url, repository, 'config')),
      mediaType: 'application/vnd.oci.image.config.v1+json',
    };
    return pushManifest(registry.url, repository, tag, {
      schemaVersion: 2,
      mediaType: MANIFEST,
      config,
      layers,
    });
  };
  await push('kept/app', 'v1', ['shared', 'own']);
  const child = await push('kept/app', undefined, ['child']);
  const manifests = [{ mediaType: MANIFEST, digest: child.digest, size: child.size }];
  await pushManifest(registry.url, 'kept/app', 'multi', { schemaVersion: 2, mediaType: INDEX, manifests });
  await push('kept/app', undefined, ['untagged', 'shared']);
  await push('gone/app', undefined, ['shared', 'gone']);
  await bring(registry.url, 'gone/app', 'left over');
  const told: Told = {
    tags: new Map([
      ['kept/app:v1', ''],
      ['kept/app:multi', ''],
    ]),
    pushes: 0,
  };
  const live = await liveDigests(registry.url, told);
  await registry.stop();
  const strace = requireTool('strace');
  for (const call of ['rename', 'unlink', 'rmdir']) {
    let step = 1;
    for (; step < 200; step += call === 'rename' ? 1 : 4) {
      const folder = workspace.join(`${call}-${step}`);
      await cp(original, folder, { recursive: true });
      const inject = `inject=${call}:signal=KILL:when=${step}`;
      const args = ['-f', '-qqq', '-o', '/dev/null', '-e', `trace=${call}`, '-e', inject];
      const code = await collector(folder, ['0', '1', String(AHEAD)], { under: [strace, ...args] });
      const driver = new FilesystemDriver(folder, DRIVER_FOLDER);
      const areWhole = async () => {
        const after = new LocalRegistry(driver, RULES);
        for (const tag of ['v1', 'multi'])
          expect([tag, await isWhole(after, 'kept/app', tag)]).toEqual([tag, true]);
      };
      await areWhole();
      for (let run = 0; run < 2; run += 1)
        await collectOnce(driver, { untagged: true, now: () => Date.now() + AHEAD });
      await areWhole();
      expect(await stored(folder)).toEqual(live);
      if (code === 0) break;
    }
    // The test is worth something only if it did kill.
    expect(step).toBeGreaterThan(2);
  }
}, 240_000);
