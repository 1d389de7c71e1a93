/** One parsed path decides everything; what is no route of ours is answered by nobody. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { type RunningRegistry, startEntrepot } from '../harness/entrepot.ts';
import { ask, beginUpload, closing, digestBy, errorCode, locationOf, OCI_MANIFEST } from './images.ts';
import { pushBlob, pushImage, type PushedImage } from './images.ts';
import { jsonOf } from '../harness/registry-client.ts';
import { rawRequest, rawStatus } from './raw-http.ts';

// Only a server that hangs ever meets this limit (milliseconds); a busy machine must not.
setDefaultTimeout(120_000);

let registry: RunningRegistry;
let image: PushedImage;
beforeAll(async () => {
  registry = await startEntrepot({ workers: 1 });
  image = await pushImage(registry.url, 'secret/app', 'latest', 'CANARY-LAYER', {
    annotations: { canary: 'CANARY-MANIFEST' },
  });
});
afterAll(async () => {
  await registry.dispose();
});

test('security 22: the catalog is one route, for reading only', async () => {
  const catalog = await jsonOf<{ repositories: string[] }>(await ask(registry.url, '/v2/_catalog', 200));
  expect(catalog.repositories).toContain('secret/app');
  for (const path of [
    '/v2/_catalog/',
    '/v2/_catalog/x',
    '/v2/secret/_catalog',
    '/v2/_Catalog',
    '/_catalog',
  ]) {
    expect([path, await rawStatus(registry.host, `GET ${path} HTTP/1.1`)]).toEqual([path, 404]);
  }
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
    expect(await rawStatus(registry.host, `${method} /v2/_catalog HTTP/1.1`)).toBe(405);
  }
});

test('security 23: repositories are told from the right, whatever their components are called', async () => {
  const names = [
    'manifests/x',
    'blobs/uploads',
    'blobs',
    'tags/list',
    'manifests',
    'v2',
    'referrers/x',
    'x/blobs/uploads',
    'x/tags/list',
    'x/manifests/latest',
    `x/blobs/sha256/${'a'.repeat(64)}`,
    'uploads',
    'x/blobs/uploads/blobs/uploads',
  ];
  const pushed = new Map<string, PushedImage>();
  for (const name of names) pushed.set(name, await pushImage(registry.url, name, 'latest'));
  for (const [name, { digest, layer }] of pushed) {
    const manifest = await ask(registry.url, `/v2/${name}/manifests/latest`, 200);
    expect(manifest.headers.get('docker-content-digest')).toBe(digest);
    expect(await (await ask(registry.url, `/v2/${name}/blobs/${layer}`, 200)).text()).toBe(
      `layer of ${name}`,
    );
    const tags = await ask(registry.url, `/v2/${name}/tags/list`, 200);
    expect(await tags.json()).toEqual({ name, tags: ['latest'] });
    await ask(registry.url, `/v2/${name}/referrers/${digest}`, 200);
    for (const other of names) {
      if (other !== name) await ask(registry.url, `/v2/${other}/blobs/${layer}`, 404);
    }
  }
  const catalog = await jsonOf<{ repositories: string[] }>(await ask(registry.url, '/v2/_catalog', 200));
  expect(catalog.repositories).toEqual(expect.arrayContaining(names));
  // The parents of these names hold nothing themselves.
  for (const parent of ['x', 'tags', 'referrers', 'x/blobs', 'x/tags']) {
    await ask(registry.url, `/v2/${parent}/tags/list`, 404);
    expect(catalog.repositories).not.toContain(parent);
  }
});

test('security 24: read-only mode refuses every way to write, and none to read', async () => {
  const layer = await pushBlob(registry.url, 'secret/app', Buffer.from('CANARY-LAYER'));
  const upload = await beginUpload(registry.url, 'secret/app');
  const readOnly = await startEntrepot({
    dataDirectory: registry.dataDirectory,
    config: { storage: { maintenance: { readonly: { enabled: true } } } },
  });
  try {
    const uploadPath = upload.pathname + upload.search;
    const body = JSON.stringify(image.document);
    const writes: readonly (readonly [string, string, string?])[] = [
      ['POST', '/v2/secret/app/blobs/uploads/'],
      ['POST', `/v2/secret/app/blobs/uploads/?digest=${digestBy('sha256', Buffer.from('n'))}`, 'n'],
      ['POST', `/v2/secret/new/blobs/uploads/?mount=${layer}&from=secret/app`],
      ['POST', `/v2/secret/new/blobs/uploads/?mount=${layer}`],
      ['PATCH', uploadPath, 'n'],
      ['PUT', closing(new URL(uploadPath, readOnly.url), digestBy('sha256', Buffer.from('n'))), 'n'],
      ['DELETE', uploadPath],
      ['PUT', '/v2/secret/app/manifests/new', body],
      ['PUT', `/v2/secret/app/manifests/${image.digest}?tag=new`, body],
      ['DELETE', '/v2/secret/app/manifests/latest'],
      ['DELETE', `/v2/secret/app/manifests/${image.digest}`],
      ['DELETE', `/v2/secret/app/blobs/${layer}`],
    ];
    for (const [method, path, text] of writes) {
      const init = {
        method,
        headers: { 'content-type': OCI_MANIFEST },
        ...(text === undefined ? {} : { body: text }),
      };
      const answer = await fetch(new URL(path, readOnly.url), init);
      expect([method, path, answer.status]).toEqual([method, path, 405]);
      expect(await errorCode(answer)).toBe('UNSUPPORTED');
    }
    for (const path of ['manifests/latest', `manifests/${image.digest}`, `blobs/${layer}`, 'tags/list']) {
      await ask(readOnly.url, `/v2/secret/app/${path}`, 200);
      await ask(readOnly.url, `/v2/secret/app/${path}`, 200, { method: 'HEAD' });
    }
    await ask(readOnly.url, '/v2/secret/app/manifests/new', 404);
    await ask(readOnly.url, `/v2/secret/new/blobs/${layer}`, 404);
  } finally {
    await readOnly.dispose();
  }
});

test('security 24: where deleting is off, it is off for tags, manifests and blobs alike', async () => {
  const keeping = await startEntrepot({ config: { storage: { delete: { enabled: false } } } });
  try {
    const { digest, layer } = await pushImage(keeping.url, 'kept', 'latest');
    for (const path of ['manifests/latest', `manifests/${digest}`, `blobs/${layer}`]) {
      const answer = await fetch(`${keeping.url}/v2/kept/${path}`, { method: 'DELETE' });
      expect([path, answer.status]).toEqual([path, 405]);
      expect(await errorCode(answer)).toBe('UNSUPPORTED');
      await ask(keeping.url, `/v2/kept/${path}`, 200);
    }
    // An upload that was given up is no content.
    const location: URL = locationOf(
      await ask(keeping.url, '/v2/kept/blobs/uploads/', 202, { method: 'POST' }),
    );
    await ask(keeping.url, location.href, 204, { method: 'DELETE' });
  } finally {
    await keeping.dispose();
  }
});

test('security 24: no verb but a route’s own does anything', async () => {
  const paths = [
    '/v2/',
    '/v2/secret/app/manifests/latest',
    `/v2/secret/app/manifests/${image.digest}`,
    `/v2/secret/app/blobs/${image.layer}`,
    '/v2/secret/app/blobs/uploads/',
    '/v2/secret/app/tags/list',
    `/v2/secret/app/referrers/${image.digest}`,
  ];
  const methods = [
    'TRACE',
    'PROPFIND',
    'COPY',
    'MOVE',
    'LOCK',
    'SEARCH',
    'PATCH',
    'LINK',
    'CONNECT',
    'FOO',
    'get',
  ];
  for (const path of paths) {
    for (const method of methods) {
      const status = await rawStatus(registry.host, `${method} ${path} HTTP/1.1`, ['X-Echo: CANARY-ECHO']);
      expect([method, path, [400, 404, 405, 501].includes(status)]).toEqual([method, path, true]);
    }
    const trace = await rawRequest(registry.host, `OPTIONS ${path} HTTP/1.1`, ['X-Echo: CANARY-ECHO']);
    expect(trace.body + trace.head).not.toContain('CANARY');
  }
  // A header or parameter that names another verb changes nothing.
  for (const header of ['X-HTTP-Method-Override', 'X-HTTP-Method', 'X-Method-Override']) {
    const headers = { [header]: 'DELETE' };
    await ask(registry.url, '/v2/secret/app/manifests/latest?_method=DELETE', 200, { headers });
    await ask(registry.url, '/v2/secret/app/manifests/latest', 405, { method: 'POST', headers });
  }
  await ask(registry.url, '/v2/secret/app/manifests/latest', 200);
});

const refused = [400, 404];

test('security 39: a target that is no plain path is refused', async () => {
  const manifest = '/v2/secret/app/manifests/latest';
  for (const target of [
    `//evil${manifest}`,
    `/${manifest}`,
    '//v2/secret/app/manifests/latest',
    '/v2//secret/app/manifests/latest',
    '/v2/secret//app/manifests/latest',
    '/v2/secret/app//manifests/latest',
    '/v2/secret/app/manifests//latest',
    '/v2/secret/app/manifests/latest/',
    '/v2/secret/app/manifests/latest//',
    '/v2/secret%2fapp/manifests/latest',
    '/v2/secret%2Fapp/manifests/latest',
    '/v2/secret/%61pp/manifests/latest',
    '/v2/secret/app/manifests/lates%74',
    '/v2/secret/app/%6danifests/latest',
    '/%762/secret/app/manifests/latest',
    '/v2/secret%5capp/manifests/latest',
    '/v2/secret/app/manifests/latest%00',
    '/v2/secret/app/manifests/latest%20',
    '/v2/secret/app/manifests/latest%3fx',
    '/v2/secret/app/manifests/latest%23x',
    '/v2/secret/app/manifests/latest;x=y',
    '/v2/secret/app;x/manifests/latest',
    '/V2/secret/app/manifests/latest',
    '/v2/secret/app/Manifests/latest',
    '/v2/Secret/app/manifests/latest',
    `/x/..;${manifest}`,
    `/v2/%252e%252e${manifest}`,
    '*',
    'v2/secret/app/manifests/latest',
    `evil${manifest}`,
    `@evil${manifest}`,
  ]) {
    const answer = await rawRequest(registry.host, `GET ${target} HTTP/1.1`).catch(() => undefined);
    expect([target, refused.includes(answer?.status ?? 400)]).toEqual([target, true]);
    expect(answer?.body ?? '').not.toContain('CANARY');
  }
});

test('security 39: of an absolute target nothing counts but the path', async () => {
  const manifest = '/v2/secret/app/manifests/latest';
  const plain = await rawRequest(registry.host, `GET ${manifest} HTTP/1.1`);
  // RFC 9112 has servers accept this form. Where one is answered at all, it is as the path alone would be.
  for (const target of [
    `http://evil.example${manifest}`,
    `http://${registry.host}${manifest}`,
    `https://evil.example${manifest}`,
    `https://evil.example:99999${manifest}`,
    `http://user:password@evil.example${manifest}`,
    `http://evil.example?${manifest}`,
    `http://evil.example#${manifest}`,
    `http://evil.example\\${manifest}`,
    `http://evil.example/x/..${manifest}`,
    `file://${manifest}`,
    `ftp://x${manifest}`,
    `http:${manifest}`,
    `http:///${manifest}`,
    `http://[::1]${manifest}`,
    `http://[${manifest}`,
    'http://evil.example',
    'evil.example:443',
  ]) {
    const answer = await rawRequest(registry.host, `GET ${target} HTTP/1.1`).catch(() => undefined);
    expect([target, [200, ...refused].includes(answer?.status ?? 400)]).toEqual([target, true]);
    expect(`${answer?.head}${answer?.body}`).not.toContain('evil.example');
    if (answer?.status === 200) expect(['', plain.body]).toContain(answer.body);
  }
  const upload = 'POST http://evil.example/v2/secret/app/blobs/uploads/ HTTP/1.1';
  const answer = await rawRequest(registry.host, upload).catch(() => undefined);
  expect(answer?.head ?? '').not.toContain('evil');
});

test('security 39: dot segments reach nothing that the path without them does not name', async () => {
  const manifest = 'secret/app/manifests/latest';
  // A runtime may resolve them before we see the path. Then there still is one path only: what is answered is
  // what that path names, and nothing outside of /v2/ and of the registry's own routes.
  const same = new Map([
    [`/v2/x/../${manifest}`, `/v2/${manifest}`],
    [`/v2/x/%2e%2e/${manifest}`, `/v2/${manifest}`],
    [`/v2/./${manifest}`, `/v2/${manifest}`],
    [`/x/../v2/${manifest}`, `/v2/${manifest}`],
    ['/v2\\secret\\app\\manifests\\latest', `/v2/${manifest}`],
    ['/v2/secret/app/manifests/x/../latest', `/v2/${manifest}`],
  ]);
  for (const [target, plain] of same) {
    const answer = await rawRequest(registry.host, `GET ${target} HTTP/1.1`);
    const expected = await rawRequest(registry.host, `GET ${plain} HTTP/1.1`);
    expect([target, [...refused, expected.status].includes(answer.status)]).toEqual([target, true]);
    if (answer.status === 200) expect(answer.body).toBe(expected.body);
  }
  for (const target of [
    '/v2/../../etc/passwd',
    '/../../../etc/passwd',
    '/v2/secret/app/blobs/../../../../etc/passwd',
    '/v2/secret/app/blobs/%2e%2e%2f%2e%2e%2fetc%2fpasswd',
    '/v2/secret/app/manifests/..%2f..%2f..%2fapp',
    '/v2/%2e%2e%2fsecret/app/manifests/latest',
    '/v2/..%5c..%5csecret/app/manifests/latest',
    '/v2/.../manifests/latest',
    '/v2/secret/app/_manifests/tags/latest/current/link',
    '/v2/secret/app/manifests/tags/latest/current/link',
  ]) {
    const answer = await rawRequest(registry.host, `GET ${target} HTTP/1.1`);
    expect([target, refused.includes(answer.status)]).toEqual([target, true]);
    expect(answer.body).not.toContain('root:');
  }
});
