/** What of a request may appear in an answer, in the log, or in a browser. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { pause, untilLogged } from '../harness/waiting.ts';
import { type RunningRegistry, startEntrepot } from '../harness/entrepot.ts';
import { ask, beginUpload, digestBy, errorCode, OCI_INDEX, OCI_MANIFEST } from './images.ts';
import { pushBlob, pushImage, type PushedImage } from './images.ts';
import { type RawAnswer, rawRequest } from './raw-http.ts';

// Only a server that hangs ever meets this limit (milliseconds); a busy machine must not.
setDefaultTimeout(120_000);

let registry: RunningRegistry;
let image: PushedImage;
beforeAll(async () => {
  registry = await startEntrepot({
    workers: 1,
    config: { log: { level: 'debug', accesslog: { disabled: false } } },
  });
  image = await pushImage(registry.url, 'web/app', 'latest');
  await pushImage(registry.url, 'web/app', 'other');
});
afterAll(async () => {
  await registry.dispose();
});

const header = (answer: RawAnswer, name: string) => answer.headers.get(name)?.join(', ') ?? '';

test('security 41: no answer repeats the Host header or what a stranger says of a proxy', async () => {
  const forged = [
    'Host: evil.example:6666',
    'X-Forwarded-Host: evil.example',
    'X-Forwarded-Proto: evil',
    'X-Forwarded-Prefix: /evil',
    'X-Forwarded-For: 6.6.6.6',
    'Forwarded: host=evil.example;proto=https',
    'X-Original-URL: /evil',
    'X-Rewrite-URL: /evil',
  ];
  const blob = Buffer.from('host');
  const digest = digestBy('sha256', blob);
  const manifest = JSON.stringify(image.document);
  const requests: readonly (readonly [string, string?])[] = [
    ['GET /v2/ HTTP/1.1'],
    ['POST /v2/web/app/blobs/uploads/ HTTP/1.1', ''],
    [`POST /v2/web/app/blobs/uploads/?digest=${digest} HTTP/1.1`, 'host'],
    [`POST /v2/web/mount/blobs/uploads/?mount=${image.layer}&from=web/app HTTP/1.1`, ''],
    ['PUT /v2/web/app/manifests/latest HTTP/1.1', manifest],
    ['GET /v2/web/app/tags/list?n=1 HTTP/1.1'],
    ['GET /v2/_catalog?n=1 HTTP/1.1'],
    ['GET /v2/web/app/manifests/none HTTP/1.1'],
    ['GET /v2/web/app/manifests/latest HTTP/1.1'],
    ['GET /v2 HTTP/1.1'],
  ];
  for (const [line, body] of requests) {
    const answer = await rawRequest(registry.host, line, [...forged, `Content-Type: ${OCI_MANIFEST}`], body);
    expect([line, answer.status < 500]).toEqual([line, true]);
    expect(`${answer.head}${answer.body}`).not.toMatch(/evil|6666/);
    const location = header(answer, 'location');
    if (location !== '') expect(location).toStartWith('/v2/');
  }
  // Nor does the log believe it.
  while (!registry.logs().includes('"GET /v2 ')) await pause(20);
  expect(registry.logs()).not.toContain('6.6.6.6');
  for (const hosts of [
    ['Host: a', 'Host: b'],
    ['Host: a b'],
    ['Host: a/../b'],
    ['Host: user@evil.example'],
  ]) {
    const answer = await rawRequest(registry.host, 'POST /v2/web/app/blobs/uploads/ HTTP/1.1', hosts).catch(
      () => undefined,
    );
    expect(`${answer?.head}${answer?.body}`).not.toContain('evil');
    expect(answer?.status ?? 400).toBeLessThan(500);
  }
});

test('security 41: Locations have the configured base and no other', async () => {
  const http = { host: 'https://registry.example.com', trustedproxies: ['127.0.0.1'] };
  const configured = await startEntrepot({ config: { http, log: { accesslog: { disabled: false } } } });
  try {
    const forged = ['Host: evil.example', 'X-Forwarded-Host: evil.example', 'X-Forwarded-Proto: http'];
    const answer = await rawRequest(configured.host, 'POST /v2/app/blobs/uploads/ HTTP/1.1', forged);
    expect(header(answer, 'location')).toStartWith('https://registry.example.com/v2/app/blobs/uploads/');
    // Whom a trusted proxy names is in the log; what a client has written before that, or beside it, counts for nothing.
    const ask = (...headers: readonly string[]) =>
      rawRequest(configured.host, `GET /v2/_catalog?n=${headers.length} HTTP/1.1`, ['Host: h', ...headers]);
    const named = await ask('X-Forwarded-For: 6.6.6.6, 192.0.2.7', 'X-Forwarded-Proto: https');
    const both = await ask('X-Forwarded-For: 192.0.2.7', 'Forwarded: for=6.6.6.6', 'X-Forwarded-Host: evil');
    expect([named.status, both.status]).toEqual([200, 400]);
    while (!['?n=2 ', '?n=3 '].every((line) => configured.logs().includes(line))) await pause(20);
    await untilLogged(configured, /^192\.0\.2\.7 - - .*n=2 /m);
    expect(configured.logs()).not.toContain('6.6.6.6');
  } finally {
    await configured.dispose();
  }
});

test('security 42: a parameter that counts once and is given twice is refused', async () => {
  const location = await beginUpload(registry.url, 'web/app');
  const upload = `${location.pathname}${location.search}${location.search === '' ? '?' : '&'}`;
  const digest = digestBy('sha256', Buffer.from('x'));
  const twice: readonly (readonly [string, string])[] = [
    ['PUT', `${upload}digest=${digest}&digest=${digest}`],
    ['PUT', `${upload}digest=${digest}&digest=${image.layer}`],
    ['PUT', `${upload}digest=${digest}&%64igest=${digest}`],
    ['POST', `/v2/web/app/blobs/uploads/?digest=${digest}&digest=${image.layer}`],
    ['POST', `/v2/web/two/blobs/uploads/?mount=${image.layer}&mount=${digest}&from=web/app`],
    ['POST', `/v2/web/two/blobs/uploads/?mount=${image.layer}&from=web/none&from=web/app`],
    ['POST', '/v2/web/app/blobs/uploads/?digest-algorithm=sha256&digest-algorithm=sha512'],
    ['GET', '/v2/web/app/tags/list?n=1&n=2'],
    ['GET', '/v2/web/app/tags/list?n=1&last=a&last=b'],
    ['GET', '/v2/_catalog?n=1&n=1'],
    ['GET', '/v2/_catalog?last=a&last=b'],
  ];
  for (const [method, path] of twice) {
    const answer = await fetch(`${registry.url}${path}`, {
      method,
      ...(method === 'GET' ? {} : { body: 'x' }),
    });
    expect([method, path, answer.status]).toEqual([method, path, 400]);
    await errorCode(answer);
  }
  await ask(registry.url, `/v2/web/two/blobs/${image.layer}`, 404);
  // The session has survived its malformed ends.
  await ask(registry.url, location.href, 204);
});

test('security 42: malformed percent signs are refused or taken as they are, and crash nothing', async () => {
  const location = await beginUpload(registry.url, 'web/app');
  for (const bad of ['%', '%z', '%zz', '%f', '%ff', '%c3', '%c3%28', '%ed%a0%80', '%u0041', '%00', '%%20']) {
    const requests: readonly (readonly [string, readonly number[]])[] = [
      [`PUT ${location.pathname}?digest=${bad}`, [400, 404]],
      [`POST /v2/web/app/blobs/uploads/?digest=${bad}`, [400]],
      [`POST /v2/web/app/blobs/uploads/?mount=${image.layer}&from=${bad}`, [201, 202, 400]],
      [`PUT /v2/web/app/manifests/${image.digest}?tag=${bad}`, [400]],
      [`GET /v2/web/app/tags/list?n=${bad}`, [400]],
      [`GET /v2/web/app/tags/list?last=${bad}`, [200, 400]],
      [`GET /v2/_catalog?last=${bad}`, [200, 400]],
      [`GET /v2/web/app/referrers/${image.digest}?artifactType=${bad}`, [200, 400]],
      [`GET /v2/?${bad}=${bad}`, [200, 400]],
      [`GET /v2/web/app/manifests/${bad}`, [400, 404]],
      [`GET /v2/${bad}/tags/list`, [400, 404]],
    ];
    for (const [line, statuses] of requests) {
      const head = line.startsWith('GET') ? [] : ['Content-Length: 0', `Content-Type: ${OCI_MANIFEST}`];
      const answer = await rawRequest(registry.host, `${line} HTTP/1.1`, head);
      expect([line, answer.status, statuses.includes(answer.status)]).toEqual([line, answer.status, true]);
    }
  }
});

test('security 43: nothing of a request becomes a header line of its own', async () => {
  const evil = '%0d%0aX-Evil:%20yes';
  const lines = [
    `GET /v2/web/app/tags/list?n=1&last=${evil}`,
    `GET /v2/_catalog?n=1&last=${evil}`,
    `GET /v2/_catalog?n=1&last=%c3%a9%e2%80%a8`,
    `GET /v2/web/app/referrers/${image.digest}?artifactType=${evil}`,
    `GET /v2/web/app/referrers/${image.digest}?artifactType=%c3%a9`,
    `GET /v2/web/app/manifests/latest${evil}`,
    `GET /v2/web/app/manifests/latest?ns=${evil}`,
    `GET /v2/web/app/manifests/latest?ns=%c3%a9`,
    `PUT /v2/web/app/manifests/${image.digest}?tag=a${evil}`,
    `PUT /v2/web/app/manifests/${image.digest}?tag=good&tag=%c3%a9`,
    `POST /v2/web/app/blobs/uploads/?mount=${image.layer}${evil}&from=web/app`,
    `POST /v2/web/app/blobs/uploads/?mount=${image.layer}&from=web/app${evil}`,
    `POST /v2/web/app${evil}/blobs/uploads/`,
  ];
  for (const line of lines) {
    const body = line.startsWith('PUT') ? JSON.stringify(image.document) : '';
    const answer = await rawRequest(
      registry.host,
      `${line} HTTP/1.1`,
      [`Content-Type: ${OCI_MANIFEST}`],
      body,
    );
    expect([line, answer.status < 500]).toEqual([line, true]);
    expect(answer.headers.has('x-evil')).toBe(false);
    // Printable ASCII only, between the line ends.
    expect(answer.head.replaceAll('\r\n', '')).toMatch(/^[\x20-\x7e]*$/);
  }
  const size = 2;
  for (const digest of [
    `sha256:${'a'.repeat(64)}\r\nX-Evil: yes`,
    'x:a\nX-Evil:1',
    `sha256:${'é'.repeat(64)}`,
  ]) {
    const subject = { mediaType: OCI_MANIFEST, digest, size };
    const body = JSON.stringify({ ...image.document, subject });
    const init = { method: 'PUT', headers: { 'content-type': OCI_MANIFEST }, body };
    const answer = await fetch(`${registry.url}/v2/web/app/manifests/latest`, init);
    expect(answer.status).toBe(400);
    expect(answer.headers.has('oci-subject')).toBe(false);
  }
});

test('security 43: nothing of a request becomes a line or a terminal command of the log', async () => {
  for (const formatter of ['text', 'json', 'logstash']) {
    const config = { log: { level: 'debug', formatter, accesslog: { disabled: false } } };
    const server = await startEntrepot({ workers: 1, config });
    try {
      const forged = '"}\\n{"level":"error","msg":"FORGED"} \u001b[31m \u009b31m';
      const headers = [`User-Agent: CANARY ${forged}`, `Referer: ${forged}`, `X-Request-Id: ${forged}`];
      const escaped = '%0aFORGED%20line%1b[31m%0d%c2%9b';
      for (const line of [
        `GET /v2/a/manifests/CANARY${escaped} HTTP/1.1`,
        `GET /v2/_catalog?last=CANARY${escaped} HTTP/1.1`,
        `GET /v2/${escaped}/tags/list HTTP/1.1`,
        `GET /v2/?CANARY${escaped} HTTP/1.1`,
      ]) {
        await rawRequest(server.host, line, headers).catch(() => undefined);
        await rawRequest(server.host, line, ['User-Agent: CANARY"} \\n{"level":"error"}']);
      }
      await server.stop();
      const logs = server.logs();
      expect(logs).toContain('CANARY');
      // eslint-disable-next-line no-control-regex
      expect(logs).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/);
      for (const line of logs.split('\n').filter((text) => text !== '')) {
        expect(line).not.toMatch(/^\s*(FORGED|\{"level":"error")/);
        // What is not the log (the greeting, the access log in its own format) begins otherwise.
        if (formatter !== 'text' && line.startsWith('{')) expect(() => void JSON.parse(line)).not.toThrow();
      }
    } finally {
      await server.dispose();
    }
  }
});

test('security 44: keys that name a prototype are data like any other', async () => {
  const repository = 'constructor/prototype';
  await pushImage(registry.url, repository, '__proto__', 'proto');
  const subject = await pushImage(registry.url, repository, 'constructor', 'proto');
  const size = Buffer.byteLength(JSON.stringify(subject.document));
  const text = JSON.stringify({
    ...subject.document,
    artifactType: 'constructor/__proto__',
    subject: { mediaType: OCI_MANIFEST, digest: subject.digest, size },
  }).replace(/}$/, ',"annotations":{"__proto__":"P","constructor":"C","toString":"T","hasOwnProperty":"H"}}');
  const init = { method: 'PUT', headers: { 'content-type': OCI_MANIFEST }, body: text };
  await ask(registry.url, `/v2/${repository}/manifests/toString`, 201, init);
  expect(await (await ask(registry.url, `/v2/${repository}/manifests/toString`, 200)).text()).toBe(text);
  const referrers = await ask(registry.url, `/v2/${repository}/referrers/${subject.digest}`, 200);
  expect(referrers.headers.get('content-type')).toBe(OCI_INDEX);
  const list = await referrers.text();
  expect(list).toContain('"__proto__":"P"');
  expect(list).toContain('"constructor":"C"');
  expect(list).toContain('"hasOwnProperty":"H"');
  for (const query of [
    'artifactType=constructor/__proto__',
    'artifactType=__proto__',
    '__proto__=1&constructor=2',
  ]) {
    await ask(registry.url, `/v2/${repository}/referrers/${subject.digest}?${query}`, 200);
  }
  const tags = await ask(registry.url, `/v2/${repository}/tags/list`, 200);
  expect(await tags.json()).toEqual({ name: repository, tags: ['__proto__', 'constructor', 'toString'] });
  for (const tag of ['valueOf', 'hasOwnProperty'])
    await ask(registry.url, `/v2/${repository}/manifests/${tag}`, 404);
  for (const name of ['__proto__', 'constructor', 'tostring'])
    await ask(registry.url, `/v2/${name}/tags/list`, [400, 404]);
  // Nothing was left behind for others.
  const plain = await ask(registry.url, '/v2/web/app/manifests/latest', 200);
  expect(await plain.text()).toBe(JSON.stringify(image.document));
});

test('security 45: content is never a page on our origin', async () => {
  const page = Buffer.from('<!doctype html><script>alert(document.domain)</script>');
  const digest = await pushBlob(registry.url, 'web/app', page);
  const { layer, document } = await pushImage(registry.url, 'web/app', 'page', page.toString(), {
    layers: [{ mediaType: 'text/html', digest, size: page.length }],
    annotations: { title: '<script>alert(1)</script>' },
  });
  expect(layer).toBe(digest);
  const types: readonly (readonly [string, string])[] = [
    [`/v2/web/app/blobs/${digest}`, 'application/octet-stream'],
    ['/v2/web/app/manifests/page', document.mediaType],
    [`/v2/web/app/tags/list`, 'application/json'],
    ['/v2/_catalog', 'application/json'],
    ['/v2/<script>/manifests/<script>', 'application/json'],
    ['/v2/web/app/manifests/<script>', 'application/json'],
    ['/<script>', 'application/json'],
    ['/v2/web/app/blobs/sha256:<script>', 'application/json'],
  ];
  for (const [path, type] of types) {
    for (const headers of [{}, { accept: 'text/html' }, { range: 'bytes=0-30' }]) {
      const answer = await fetch(registry.url + path, { headers });
      const found = answer.headers.get('content-type') ?? '';
      expect([path, found.split(';')[0] ?? '']).toEqual([path, type]);
      expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
      // Lists and errors are ours; what somebody pushed is not.
      if (answer.ok && /\/(blobs|manifests)\//.test(path)) {
        expect(answer.headers.get('content-security-policy') ?? '').toContain('sandbox');
      }
      await answer.arrayBuffer();
    }
  }
});

test('security 46: another site’s page is told nothing, and no cookie is ever set', async () => {
  const origin = { origin: 'https://evil.example' };
  const preflight = {
    ...origin,
    'access-control-request-method': 'DELETE',
    'access-control-request-headers': 'authorization',
  };
  for (const path of ['/v2/', '/v2/_catalog', '/v2/web/app/manifests/latest', '/v2/none/manifests/none']) {
    for (const [method, headers] of [
      ['GET', origin],
      ['HEAD', origin],
      ['OPTIONS', preflight],
    ] as const) {
      const answer = await fetch(registry.url + path, { method, headers });
      expect([method, path, answer.status < 500]).toEqual([method, path, true]);
      const allowed = answer.headers.get('access-control-allow-origin');
      expect(allowed).not.toBe('https://evil.example');
      expect(allowed).not.toBe('null');
      if (allowed === '*') expect(answer.headers.get('access-control-allow-credentials')).toBeNull();
      expect(answer.headers.get('set-cookie')).toBeNull();
      await answer.arrayBuffer();
    }
  }
});
