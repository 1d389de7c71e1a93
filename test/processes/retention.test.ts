/** Scrub and retention as an operator sees them: commands beside a server that runs, and without one. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startDockerRegistry } from '../harness/docker-registry.ts';
import { entrepotCommand, type RunningRegistry, startEntrepot } from '../harness/entrepot.ts';
import { randomBytes } from '../harness/random-bytes.ts';
import {
  ask,
  pullManifest,
  pushBlob,
  pushManifest,
  verifyBlob,
  verifyImage,
} from '../harness/registry-client.ts';
import { type Finished, run } from '../harness/tools.ts';
import { type Condition, untilHolds } from '../harness/waiting.ts';

// Only a server that hangs ever meets this limit (milliseconds); a busy machine must not.
setDefaultTimeout(120_000);

const DAY = 86_400_000;

let upstream: RunningRegistry;
let registry: RunningRegistry;

beforeAll(async () => {
  upstream = await startDockerRegistry();
  const keep = [
    { tags: 'v*' },
    { newest: 1 },
    { pushed_within: '14d' },
    { tags: 'used*', pulled_within: '30d' },
  ];
  registry = await startEntrepot({
    workers: 2,
    config: {
      proxy: { upstreams: [{ name: 'lab', url: upstream.url }] },
      log: { level: 'info' },
      tags: { protected: [{ repositories: 'ci/*', tags: 'latest' }] },
      retention: { enabled: false, rules: [{ repositories: 'ci/*', keep }] },
    },
  });
});

afterAll(async () => {
  await registry.dispose();
  await upstream.dispose();
});

async function entrepot(...args: readonly string[]): Promise<Finished> {
  const { command, args: before } = await entrepotCommand();
  return run(command, [...before, ...args], { mayFail: true });
}

/** Shows the server's log when it does not come to that. */
const until = (condition: Condition) => untilHolds(condition, () => registry.logs());

const path = (...parts: string[]) => join(registry.dataDirectory, 'docker/registry/v2', ...parts);

function fileOf(digest: string): string {
  const hex = digest.slice('sha256:'.length);
  return path('blobs/sha256', hex.slice(0, 2), hex, 'data');
}

async function pushImage(url: string, name: string, tag: string) {
  const config = Buffer.from(JSON.stringify({ name, tag }));
  const layer = randomBytes(`${name}:${tag}`, 300_000);
  const described = async (bytes: Buffer<ArrayBuffer>, mediaType: string) => ({
    mediaType,
    digest: await pushBlob(url, name, bytes),
    size: bytes.length,
  });
  const document = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: await described(config, 'application/vnd.oci.image.config.v1+json'),
    layers: [await described(layer, 'application/vnd.oci.image.layer.v1.tar')],
  };
  const { digest } = await pushManifest(url, name, tag, document);
  return { digest, layer: document.layers[0]?.digest ?? '', bytes: layer };
}

async function flipBit(digest: string): Promise<void> {
  const bytes = await readFile(fileOf(digest));
  await writeFile(fileOf(digest), bytes.with(12_345, (bytes[12_345] ?? 0) ^ 4));
}

test('a scrub beside a server finds what is damaged, and repairs what the upstream still has', async () => {
  const { url, configFile } = registry;
  await pushImage(upstream.url, 'team/app', 'v1');
  const cached = 'proxy/lab/team/app';
  await verifyImage(url, cached, 'v1');
  const kept = (await pullManifest(url, cached, 'v1')).document.layers?.[0]?.digest ?? '';
  const own = await pushImage(url, 'own/app', 'v1');
  await flipBit(kept);
  await flipBit(own.layer);
  const found = await entrepot('scrub', configFile);
  expect(found.code).toBe(3);
  expect(found.stdout).toContain(`wrong digest ${kept} 293.0 KiB repositories ${cached}\n`);
  expect(found.stdout).toMatch(
    /scrub: complete, .*, strays 0, found 2, repaired 0, leftovers 0, problems 2, /,
  );
  const repaired = await entrepot('scrub', '--repair', '--json', configFile);
  expect(repaired.code).toBe(3);
  const lines = repaired.stdout
    .trim()
    .split('\n')
    .map((line): Record<string, unknown> => JSON.parse(line));
  expect(lines).toContainEqual({
    what: 'wrong digest',
    digest: own.layer,
    bytes: 300_000,
    repositories: ['own/app'],
    done: 'quarantined',
  });
  expect(lines).toContainEqual({
    what: 'dangling link',
    repository: cached,
    link: 'layers',
    digest: kept,
    done: 'fetched again',
  });
  expect(lines).toContainEqual({
    what: 'dangling link',
    repository: 'own/app',
    link: 'layers',
    digest: own.layer,
    done: 'removed',
  });
  expect(lines).toContainEqual({
    what: 'missing layer',
    repository: 'own/app',
    manifest: own.digest,
    digest: own.layer,
    tag: 'v1',
  });
  expect(lines.at(-1)).toMatchObject({ job: 'scrub', summary: { problems: 1, quarantine: 2 } });
  expect(await readdir(path('_entrepot/quarantine'))).toHaveLength(2);
  await until(() => registry.logs().includes('scrub: wrong digest'));
  await verifyBlob(url, cached, { digest: kept, size: 300_000 });
  // The push of what is missing brings it back.
  await ask(url, `/v2/own/app/blobs/${own.layer}`, 404, { method: 'HEAD' });
  await pushBlob(url, 'own/app', own.bytes);
  await verifyImage(url, 'own/app', 'v1');
  expect((await entrepot('scrub', '--repair', configFile)).code).toBe(0);
  const wrong = await entrepot('scrub', '--max-bytes', 'much', configFile);
  expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('--max-bytes: much is no size')]);
});

test('retention tells what goes and why, and deletes that', async () => {
  const { url, configFile } = registry;
  const age = async (tag: string, days: number) => {
    const time = new Date(Date.now() - days * DAY);
    await utimes(path('repositories/ci/app/_manifests/tags', tag, 'current/link'), time, time);
  };
  const ages = { v1: 400, 'build-1': 20, 'build-2': 3, latest: 15, 'used-1': 40, 'used-2': 40 };
  for (const tag of Object.keys(ages)) await pushImage(url, 'ci/app', tag);
  const used = (await pullManifest(url, 'ci/app', 'used-1')).digest;
  await until(async () => {
    const notes: string[] = await readdir(path('_entrepot/pulls/ci/app/_manifests')).catch(() => []);
    return notes.includes(used.replace(':', '-'));
  });
  for (const [tag, days] of Object.entries(ages)) await age(tag, days);
  // Since long before: of `used-2` it is known that nobody pulled it.
  const before = new Date(Date.now() - 35 * DAY);
  await utimes(path('_entrepot/pulls/since'), before, before);

  const explained = await entrepot('retention', 'explain', 'ci/app', configFile);
  expect(explained.code).toBe(0);
  const told = explained.stdout.trim().split('\n');
  expect(told.map((line) => line.split(':')[0])).toEqual([
    'build-1 goes',
    'build-2 stays',
    'latest stays',
    'used-1 stays',
    'used-2 goes',
    'v1 stays',
  ]);
  expect(told[1]).toContain('rule 1, keep 2 (newest 1 of all tags): it is number 1 of 6');
  expect(told[2]).toStartWith('latest stays: it is protected (');
  expect(told[4]).toContain('keep 3 (pushed within 14d of all tags): pushed 40d ago');
  const one = await entrepot('retention', 'explain', 'ci/app:v1', configFile);
  expect(one.stdout).toMatch(/^v1 stays: rule 1, keep 1 \(tags "v\*"\): names it \(pushed .* UTC\)\n$/);

  const all = await entrepot('retention', 'explain', '--config', configFile);
  expect(all.stdout).toContain(`ci/app:${told[0]}`);
  expect(all.stdout).toContain('own/app:v1 stays: no rule names the repository (');
  const dry = await entrepot('retention', '--dry-run', configFile);
  expect(dry.stdout).toContain('retention: repositories 1, tags 6, goes 2, ');
  expect((await entrepot('retention', configFile)).stdout).toContain(
    'retention: repositories 1, tags 6, deleted 2, ',
  );
  await until(() => registry.logs().includes('retention: a tag was deleted'));
  for (const tag of ['build-1', 'used-2']) await ask(url, `/v2/ci/app/manifests/${tag}`, 404);
  for (const tag of ['build-2', 'latest', 'used-1', 'v1']) await verifyImage(url, 'ci/app', tag);
  const none = await entrepot('retention', 'explain', 'ci/app:none', configFile);
  expect([none.code, none.stderr]).toEqual([1, 'retention: ci/app:none: there is no such tag\n']);
  expect((await entrepot('retention', 'explain', 'UPPER', configFile)).code).toBe(2);
  // What only told is not the last run, nor one that failed.
  expect((await entrepot('jobs', configFile)).stdout).toMatch(/^retention ran .* done: .* deleted 2, /m);
  await until(() => registry.logs().includes('what was asked of upkeep could not be told'));
  expect(registry.logs()).not.toContain('upkeep failed');

  // Without a server the storage is asked itself.
  await registry.stop();
  expect((await entrepot('retention', '-d', configFile)).stdout).toContain('tags 4, goes 0, ');
  expect((await entrepot('scrub', configFile)).code).toBe(0);
});
