/** The settings of registry:2's file and its variables mean to Entrepot what they mean to docker-registry. */
import { afterEach, describe, expect, test } from 'bun:test';
import { writeFile } from 'node:fs/promises';
import type { ConfigObject } from '../harness/config-file.ts';
import { freePort } from '../harness/ports.ts';
import { startDockerRegistry } from '../harness/docker-registry.ts';
import { randomBytes } from '../harness/random-bytes.ts';
import { ask, closing, digestBy, locationOf, pushBlob, pushManifest } from '../harness/registry-client.ts';
import { startRegistryUnderTest } from '../harness/registry-under-test.ts';
import type { RegistryOptions, RunningRegistry } from '../harness/running-registry.ts';
import { createWorkspace } from '../harness/workspace.ts';

/** The servers, and the status with which they refuse a manifest for its URLs: 2.8 takes that for a fault of its own. */
const servers = [
  ['docker-registry', startDockerRegistry, 500],
  ['Entrepot', startRegistryUnderTest, 400],
] as const;

const started: RunningRegistry[] = [];
afterEach(async () => {
  // The folder of one may be that of those after it.
  for (const registry of started.splice(0).toReversed()) await registry.dispose();
}, 300_000);

describe.each(servers)('%s', (_name, start, refusal) => {
  async function serve(config: ConfigObject, options: RegistryOptions = {}): Promise<RunningRegistry> {
    const registry = await start({ config, ...options });
    started.push(registry);
    return registry;
  }

  async function begin(url: string, path = '/v2/a/b/blobs/uploads/', headers: Record<string, string> = {}) {
    return await ask(url, path, 202, { method: 'POST', headers, body: '' });
  }

  test('deletes nothing unless storage.delete.enabled', async () => {
    const { url } = await serve({ storage: { delete: { enabled: false } } });
    const blob = await pushBlob(url, 'a/b', randomBytes('blob', 100));
    const { digest } = await pushManifest(url, 'a/b', 'tag', manifestOf(await pushBlob(url, 'a/b', EMPTY)));
    for (const path of [`blobs/${blob}`, `manifests/${digest}`]) {
      const refused = await ask(url, `/v2/a/b/${path}`, 405, { method: 'DELETE' });
      expect(await refused.text()).toContain('UNSUPPORTED');
    }
  });

  test('takes nothing when storage.maintenance.readonly', async () => {
    const before = await serve({});
    const blob = await pushBlob(before.url, 'a/b', randomBytes('blob', 100));
    await before.stop();
    const { dataDirectory } = before;
    const { url } = await serve(
      { storage: { maintenance: { readonly: { enabled: true } } } },
      { dataDirectory },
    );
    await ask(url, `/v2/a/b/blobs/${blob}`, 200);
    await ask(url, '/v2/a/b/blobs/uploads/', 405, { method: 'POST' });
    await ask(url, `/v2/a/b/blobs/${blob}`, 405, { method: 'DELETE' });
    await ask(url, `/v2/a/b/manifests/tag`, 405, { method: 'PUT', body: '{}' });
  });

  test('serves below http.prefix, and says so in its locations', async () => {
    const { url } = await serve({ http: { prefix: '/images/' } }, { prefix: '/images' });
    const bytes = randomBytes('prefix', 100);
    const begun = await begin(url, '/images/v2/a/b/blobs/uploads/');
    expect(locationOf(begun).pathname).toStartWith('/images/v2/a/b/blobs/uploads/');
    const digest = digestBy('sha256', bytes);
    const done = await ask(url, closing(locationOf(begun), digest), 201, { method: 'PUT', body: bytes });
    expect(locationOf(done).pathname).toBe(`/images/v2/a/b/blobs/${digest}`);
    await ask(url, `/images/v2/a/b/blobs/${digest}`, 200);
    await ask(url, '/v2/', 404);
  });

  test('gives relative locations when http.relativeurls', async () => {
    const { url } = await serve({ http: { relativeurls: true } });
    expect((await begin(url)).headers.get('location')).toStartWith('/v2/a/b/blobs/uploads/');
  });

  test('gives locations at http.host', async () => {
    const { url } = await serve({ http: { host: 'https://registry.example' } });
    expect((await begin(url)).headers.get('location')).toStartWith('https://registry.example/v2/a/b/');
  });

  test('gives locations that a client behind a TLS proxy can use', async () => {
    const { url } = await serve({});
    const headers = { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'front.example' };
    const location = (await begin(url, undefined, headers)).headers.get('location') ?? '';
    // Either the proxy's own address, or one that is relative to whatever the client asked.
    expect(location).toMatch(/^(?:https:\/\/front\.example)?\/v2\/a\/b\/blobs\/uploads\//);
  });

  test('adds http.headers to every answer', async () => {
    const { url } = await serve({ http: { headers: { 'X-Of-Ours': ['one', 'two'] } } });
    expect((await ask(url, '/v2/', 200)).headers.get('x-of-ours')).toBe('one, two');
    expect((await ask(url, '/v2/a/b/tags/list', 404)).headers.get('x-of-ours')).toBe('one, two');
  });

  test.each([
    ['those that are allowed', { urls: { allow: ['^https://ok\\.example/'] } }, 'https://ok.example/x', true],
    [
      'not those that are not',
      { urls: { allow: ['^https://ok\\.example/'] } },
      'https://no.example/x',
      false,
    ],
    ['not those that are denied', { urls: { deny: ['no'] } }, 'https://no.example/x', false],
    ['those that are not denied', { urls: { deny: ['no'] } }, 'https://ok.example/x', true],
  ] as const)('URLs of foreign layers: %s', async (_case, manifests, layerUrl, taken) => {
    const { url } = await serve({ validation: { manifests } });
    const manifest = manifestOf(await pushBlob(url, 'a/b', EMPTY));
    const layer = {
      mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
      digest: digestBy('sha256', randomBytes('elsewhere', 10)),
      size: 10,
      urls: [layerUrl],
    };
    const body = JSON.stringify({ ...manifest, layers: [layer] });
    const headers = { 'content-type': manifest.mediaType };
    await ask(url, '/v2/a/b/manifests/foreign', taken ? 201 : refusal, { method: 'PUT', headers, body });
  });

  test('takes its settings from variables', async () => {
    const workspace = await createWorkspace('variables');
    const port = await freePort();
    const configFile = workspace.join('config.yml');
    // What the image of registry:2 has, whose users set all else by variables.
    await writeFile(
      configFile,
      [
        'version: 0.1',
        'log:',
        '  fields:',
        '    service: registry',
        'storage:',
        '  cache:',
        '    blobdescriptor: inmemory',
        '  filesystem:',
        '    rootdirectory: /nowhere/to/be/written',
        'http:',
        '  addr: :5000',
        '  headers:',
        '    X-Content-Type-Options: [nosniff]',
        '',
      ].join('\n'),
    );
    const env = {
      REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY: workspace.join('data'),
      REGISTRY_STORAGE_DELETE_ENABLED: 'true',
      REGISTRY_HTTP_ADDR: `127.0.0.1:${port}`,
      REGISTRY_HTTP_SECRET: 'known',
      REGISTRY_LOG_LEVEL: 'error',
      // As Kubernetes sets for a service that is called "registry".
      REGISTRY_PORT: 'tcp://10.0.0.1:5000',
      REGISTRY_SERVICE_HOST: '10.0.0.1',
    };
    const dataDirectory = workspace.join('data');
    const registry = await serve({}, { configFile, port, env, dataDirectory });
    const { url } = registry;
    expect((await ask(url, '/v2/', 200)).headers.get('x-content-type-options')).toBe('nosniff');
    const blob = await pushBlob(url, 'a/b', randomBytes('blob', 100));
    await ask(url, `/v2/a/b/blobs/${blob}`, 202, { method: 'DELETE' });
    await registry.stop();
    await workspace.remove();
  });
});

const EMPTY = Buffer.from('{}');

function manifestOf(config: string) {
  return {
    schemaVersion: 2,
    mediaType: 'application/vnd.docker.distribution.manifest.v2+json',
    config: { mediaType: 'application/vnd.docker.container.image.v1+json', digest: config, size: 2 },
    layers: [] as readonly unknown[],
  };
}
