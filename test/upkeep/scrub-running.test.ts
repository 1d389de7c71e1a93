/** Scrubs beside others: pushes, other scrubs, crashes, upstreams; and over the data of `registry:2`. */
import { afterAll, expect, setDefaultTimeout, test } from 'bun:test';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { FilesystemDriver } from '../../src/drivers/filesystem/filesystem-driver.ts';
import { MemoryDriver } from '../../src/drivers/memory.ts';
import type { Digest } from '../../src/oci/digest.ts';
import type { RepositoryName } from '../../src/oci/name.ts';
import { DRIVER_FOLDER, QUARANTINE } from '../../src/store/layout.ts';
import { Objects } from '../../src/store/objects.ts';
import { readScrubState } from '../../src/upkeep/scrub-state.ts';
import { JobBusy } from '../../src/upkeep/job.ts';
import { pushArtifact, pushReferrerByTag } from '../dropin/registry-content.ts';
import { startDockerRegistry } from '../harness/docker-registry.ts';
import { randomBytes } from '../harness/random-bytes.ts';
import { ask, pushBlob as pushBlobTo, pushManifest, verifyImage } from '../harness/registry-client.ts';
import type { RunningRegistry } from '../harness/running-registry.ts';
import { createWorkspace } from '../harness/workspace.ts';
import { openCache, pullBlob, pullManifest } from '../proxy/cache.ts';
import { OCI_INDEX, OCI_MANIFEST, pushBlob, pushImage, sha256 } from '../store/content.ts';
import { tagOf } from '../store/subject.ts';
import { Crash, crashingAfter } from './crashing-driver.ts';
import { APP, damage, openRegistry, scrubbed } from './scrubbing.ts';

// Only what hangs ever meets this limit (milliseconds); a busy machine must not.
setDefaultTimeout(60_000);

let running: Promise<RunningRegistry> | undefined;
/** One server for all that need one. */
function dockerRegistry(): Promise<RunningRegistry> {
  running ??= startDockerRegistry({ config: { storage: { delete: { enabled: true } } } });
  return running;
}
afterAll(async () => {
  await (await running)?.dispose();
});

async function pushTo(url: string, name: string, tag: string | undefined, seed: string, size = 2_000) {
  const config = Buffer.from(JSON.stringify({ seed }));
  const layer = randomBytes(seed, size);
  const described = (bytes: Uint8Array, mediaType: string, digest: string) => ({
    mediaType,
    digest,
    size: bytes.length,
  });
  const pushed = await pushManifest(url, name, tag, {
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: described(
      config,
      'application/vnd.oci.image.config.v1+json',
      await pushBlobTo(url, name, config),
    ),
    layers: [described(layer, 'application/vnd.oci.image.layer.v1.tar', await pushBlobTo(url, name, layer))],
  });
  return { ...pushed, layer: sha256(layer) };
}

test("registry:2's own folder is clean", async () => {
  const { url, dataDirectory } = await dockerRegistry();
  const image = await pushTo(url, 'lib/own', 'v1', 'own');
  const other = await pushTo(url, 'lib/own', undefined, 'other');
  await pushTo(url, 'lib/own', 'v1', 'moved');
  await pushBlobTo(url, 'lib/own', randomBytes('by sha512', 300_000), 'sha512');
  const manifests = [image, other].map(({ digest, size }) => ({ mediaType: OCI_MANIFEST, digest, size }));
  await pushManifest(url, 'lib/own', 'multi', { schemaVersion: 2, mediaType: OCI_INDEX, manifests });
  await pushReferrerByTag(url, 'lib/own', { ...image, mediaType: OCI_MANIFEST }, 'application/test');
  const gone = await pushTo(url, 'lib/own/gone', 'v1', 'gone');
  await ask(url, `/v2/lib/own/gone/manifests/${gone.digest}`, 202, { method: 'DELETE' });
  await ask(url, '/v2/lib/own/blobs/uploads/', 202, { method: 'POST' });
  const driver = new FilesystemDriver(dataDirectory, DRIVER_FOLDER);
  for (const repair of [false, true]) {
    const { told, summary } = await scrubbed(driver, { repair });
    expect(told).toEqual([]);
    expect(summary).toMatchObject({ found: 0, repositories: 2 });
  }
  // That a client's tag does not list it is another matter.
  const unlisted = await pushArtifact(url, 'lib/own', { ...image, mediaType: OCI_MANIFEST }, 'application/x');
  expect((await scrubbed(driver, { repair: true })).told).toEqual(['missing referrer: rewritten']);
  const referrers = await openRegistry(driver)
    .repository('lib/own' as RepositoryName)
    .referrers.list(image.digest as Digest, { limit: 10 });
  expect(referrers.items.map(({ digest }) => digest)).toContain(unlisted.digest);
  await verifyImage(url, 'lib/own', 'multi');
});

test('cached content is fetched again, also for our own repositories', async () => {
  const { url } = await dockerRegistry();
  const image = await pushTo(url, 'team/app', 'v1', 'cached', 600_000);
  const cache = openCache({ url });
  const { driver, registry } = cache;
  const name = 'proxy/lab/team/app' as RepositoryName;
  await pullManifest(registry, 'v1');
  await pullBlob(registry, image.layer);
  // One that is ours too, whose name comes before that of the copy.
  const own = openRegistry(driver).repository('a/copy' as RepositoryName);
  const from = { from: name, mayPull: () => Promise.resolve(true) };
  expect(await own.blobs.mount(image.layer, from)).toBeDefined();
  const upkeep = cache.another();
  const options = {
    repair: true,
    isOnDemand: (one: RepositoryName) => registry.isCached(one),
    repairFrom: (one: RepositoryName, kind: 'layers' | 'revisions', digest: Digest) =>
      upkeep.cache.refetch(one, kind === 'layers' ? 'blobs' : 'manifests', digest),
  };
  expect((await scrubbed(driver, { ...options, repair: false })).told).toEqual([]);
  await damage(driver, image.layer, (bytes) => bytes.subarray(1));
  await damage(driver, image.digest as Digest, (bytes) => bytes.fill(32, 10, 12));
  expect((await scrubbed(driver, options)).told).toEqual([
    'dangling link: fetched again',
    'dangling link: fetched again',
    'wrong digest: quarantined',
    'wrong digest: quarantined',
  ]);
  expect((await scrubbed(driver, { ...options, repair: false })).told).toEqual([]);
  expect((await own.blobs.stat(image.layer)).size).toBe(600_000);
  // The upstream does not have it any more: it goes from here, and comes when it is asked for.
  await damage(driver, image.layer, (bytes) => bytes.subarray(1));
  await ask(url, `/v2/team/app/blobs/${image.layer}`, 202, { method: 'DELETE' });
  expect((await scrubbed(driver, options)).told).toEqual([
    'dangling link: removed',
    'dangling link: removed',
    'wrong digest: quarantined',
  ]);
});

test('pushes beside scrubs that repair: nothing is found, and nothing is lost', async () => {
  const driver = new MemoryDriver();
  const registry = openRegistry(driver);
  const pushed = new Map<string, Digest>();
  const pushing = new AbortController();
  const push = async (worker: number): Promise<void> => {
    for (let number = 0; number < 12; number += 1) {
      const repository = registry.repository(`team/w${worker % 2}` as RepositoryName);
      const layers = [`layer ${worker} ${number % 3}`, `shared ${number}`];
      const tag = `t${worker}-${number % 4}`;
      const image = await pushImage(repository, [tag], { layers, config: `${worker} ${number}` });
      await pushImage(repository, [], { layers: [`signature ${number}`], subject: image });
      pushed.set(`${repository.name}:${tag}`, image.digest);
      // An upload that stands still for a while.
      const { id } = await repository.uploads.start();
      const body = new Blob(['slow']).stream();
      await repository.uploads.append(id, { body });
      await new Promise((resolve) => setTimeout(resolve, 1));
      await repository.uploads.finish(id, sha256('slow'));
    }
  };
  // A push gets its turn between any two looks.
  const pace = () => new Promise<void>((resolve) => setImmediate(resolve));
  const scrubs = (async () => {
    const summaries = [];
    while (!pushing.signal.aborted)
      summaries.push(await scrubbed(driver, { repair: true, settleMs: 5 }, { pace }));
    return summaries;
  })();
  await Promise.all([0, 1, 2, 3].map(push)).finally(() => pushing.abort());
  const told = (await scrubs).flatMap((one) => one.told);
  expect(told).toEqual([]);
  expect((await scrubbed(driver)).summary).toMatchObject({ found: 0, repositories: 2 });
  for (const [reference, digest] of pushed) {
    const [name = '', tag = ''] = reference.split(':');
    const manifest = await openRegistry(driver)
      .repository(name as RepositoryName)
      .manifests.get(tagOf(tag));
    expect([reference, manifest.digest]).toEqual([reference, digest]);
  }
});

test('what is pushed again between two looks is no fault', async () => {
  const driver = new MemoryDriver();
  const app = openRegistry(driver).repository(APP);
  await pushImage(app, ['v1'], { layers: ['one'] });
  await damage(driver, sha256('one'), () => Buffer.from('two'));
  const healing = async () => {
    await pushImage(app, ['v1'], { layers: ['one'] });
  };
  let looks = 0;
  const pace = (_objects: number, bytes?: number) => {
    looks += bytes === 3 ? 1 : 0;
    return bytes === 3 && looks === 2 ? healing() : undefined;
  };
  const { told } = await scrubbed(driver, { repair: true }, { pace });
  expect(looks).toBe(2);
  expect(told).toEqual([]);
});

test('bytes that are put right in the last moment are not put aside', async () => {
  const store = new MemoryDriver();
  const app = openRegistry(store).repository(APP);
  await pushImage(app, ['v1'], { layers: ['one'] });
  await damage(store, sha256('one'), () => Buffer.from('two'));
  let moves = 0;
  const driver = new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      const call = value.bind(target) as (...args: unknown[]) => unknown;
      if (name !== 'move') return call;
      return async (from: string, to: string, ...args: unknown[]) => {
        if (to.startsWith(QUARANTINE) && moves++ === 0)
          await damage(store, sha256('one'), () => Buffer.from('one'));
        return call(from, to, ...args);
      };
    },
  });
  const { told, summary } = await scrubbed(driver, { repair: true });
  expect([told, moves, summary]).toEqual([[], 1, expect.objectContaining({ problems: 0, quarantine: 0 })]);
  expect((await app.blobs.stat(sha256('one'))).size).toBe(3);
});

test('one scrub at a time; a stopped one is gone on with, wherever it was killed', async () => {
  const workspace = await createWorkspace('scrub');
  const driver = new FilesystemDriver(workspace.path, DRIVER_FOLDER);
  driver.prepare();
  const app = openRegistry(driver).repository(APP);
  for (let number = 0; number < 60; number += 1) await pushBlob(app, `blob ${number}`);
  const child = spawn(process.execPath, [join(import.meta.dirname, 'scrub-child.ts'), workspace.path]);
  child.stderr.pipe(process.stderr);
  let looks = 0;
  await new Promise<void>((resolve) => {
    child.once('exit', resolve);
    child.stdout.on('data', (chunk: Buffer) => {
      looks += chunk.length;
      if (looks > 20) resolve();
    });
  });
  const refusal = await scrubbed(driver).catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(JobBusy);
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
  const { round } = await readScrubState(new Objects(driver));
  expect(round?.phase).toBe('bytes');
  const before = round?.tally.blobs ?? 0;
  expect(before).toBeGreaterThan(15);
  let read = 0;
  const pace = (_objects: number, bytes = 0) => void (read += bytes > 0 ? 1 : 0);
  const { summary } = await scrubbed(driver, { resume: true }, { pace });
  expect(summary).toMatchObject({ complete: true, blobs: 60, repositories: 1 });
  expect(read).toBe(60 - before);
  expect((await readScrubState(new Objects(driver))).last?.summary).toEqual(summary);

  // By nights of 100 bytes; what was read lately is left out.
  const nights: unknown[] = [];
  for (let night = 0; night < 20; night += 1) {
    const { complete, blobs } = (await scrubbed(driver, { resume: true, mostBytes: 100 })).summary;
    nights.push(blobs);
    if (complete === true) break;
  }
  expect(nights.length).toBeGreaterThan(3);
  expect(nights.at(-1)).toBe(60);
  expect((await scrubbed(driver, { unreadForMs: 3600_000 })).summary).toMatchObject({
    blobs: 0,
    complete: true,
  });
  expect((await scrubbed(driver, { newerThanMs: 3600_000 })).summary).toMatchObject({ blobs: 60 });
  expect((await scrubbed(driver, { newerThanMs: 0 })).summary).toMatchObject({ blobs: 0 });
  const stop = new AbortController();
  stop.abort(new Error('enough'));
  const stopped = await scrubbed(driver, {}, { signal: stop.signal }).catch((error: unknown) => error);
  expect(stopped).toEqual(new Error('enough'));
  await workspace.remove();
});

test('a repair that is killed at any of its steps is ended by the next one', async () => {
  const faulty = async () => {
    const driver = new MemoryDriver();
    const app = openRegistry(driver).repository(APP);
    const image = await pushImage(app, ['v1'], { layers: ['one', 'two'] });
    const signature = await pushImage(app, ['signed'], { layers: ['three'], subject: image });
    await pushImage(app, ['fine'], { layers: ['four'] });
    await damage(driver, sha256('one'), () => Buffer.from('eno'));
    await damage(driver, signature.digest, (bytes) => bytes.subarray(1));
    await driver.write(
      `docker/registry/v2/repositories/${APP}/_layers/sha256/${sha256('two').slice(7)}/link`,
      new Uint8Array(),
    );
    return driver;
  };
  let steps = 0;
  for (let crashed = true; crashed; steps += 1) {
    const driver = await faulty();
    crashed = await scrubbed(crashingAfter(driver, steps), { repair: true }).then(
      () => false,
      (error: unknown) => {
        if (error instanceof Crash) return true;
        throw error;
      },
    );
    await scrubbed(driver, { repair: true, resume: true });
    const { told } = await scrubbed(driver, { repair: true });
    expect([steps, told]).toEqual([steps, ['missing layer']]);
    const app = openRegistry(driver).repository(APP);
    expect((await app.tags.list({ limit: 10 })).items).toEqual(['fine', 'v1'].map(tagOf));
    const aside: string[] = [];
    for await (const { key } of driver.list(QUARANTINE)) aside.push(key);
    expect(aside).toHaveLength(2);
  }
  expect(steps).toBeGreaterThan(8);
});
