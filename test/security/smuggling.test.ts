/** Where one request ends and the next begins must never be a matter of opinion. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { type RunningRegistry, startEntrepot } from '../harness/entrepot.ts';
import {
  ask,
  beginUpload,
  closing,
  digestBy,
  errorCode,
  OCI_MANIFEST,
  pushImage,
  type PushedImage,
} from './images.ts';
import { RawConnection } from './raw-http.ts';

// Only a server that hangs ever meets this limit (milliseconds); a busy machine must not.
setDefaultTimeout(120_000);

let registry: RunningRegistry;
let image: PushedImage;
beforeAll(async () => {
  registry = await startEntrepot({ workers: 1 });
  image = await pushImage(registry.url, 'smuggle/app', 'latest', 'smuggled', {
    annotations: { canary: 'CANARY-MANIFEST' },
  });
});
afterAll(async () => {
  await registry.dispose();
});

const INNER = 'GET /v2/smuggle/app/manifests/latest HTTP/1.1\r\nHost: x\r\n\r\n';

const head = (line: string, ...headers: string[]) =>
  `${[line, `Host: ${registry.host}`, ...headers].join('\r\n')}\r\n\r\n`;

test('security 47: an ambiguous length is refused and ends the connection', async () => {
  const size = `${INNER.length}`;
  const cases: readonly (readonly [string, readonly string[], string])[] = [
    ['length and chunked', [`Content-Length: ${size}`, 'Transfer-Encoding: chunked'], `0\r\n\r\n${INNER}`],
    ['chunked and length', ['Transfer-Encoding: chunked', 'Content-Length: 4'], `0\r\n\r\n${INNER}`],
    ['two lengths', ['Content-Length: 0', `Content-Length: ${size}`], INNER],
    ['a list of lengths', [`Content-Length: 0, ${size}`], INNER],
    ['a length with a sign', [`Content-Length: +${size}`], INNER],
    ['a negative length', ['Content-Length: -1'], INNER],
    ['a hexadecimal length', ['Content-Length: 0x0'], INNER],
    ['a length with a space', ['Content-Length: 0 1'], INNER],
    ['an empty length', ['Content-Length:'], INNER],
    ['an unknown coding', ['Transfer-Encoding: xchunked'], `0\r\n\r\n${INNER}`],
    ['chunked not last', ['Transfer-Encoding: chunked, identity'], `0\r\n\r\n${INNER}`],
    ['chunked twice', ['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'], `0\r\n\r\n${INNER}`],
    ['two codings', ['Transfer-Encoding: identity', 'Transfer-Encoding: chunked'], `0\r\n\r\n${INNER}`],
    ['a coding in quotes', ['Transfer-Encoding: "chunked"'], `0\r\n\r\n${INNER}`],
    ['a coding with a vertical tab', ['Transfer-Encoding: \u000bchunked'], `0\r\n\r\n${INNER}`],
    ['a space before the colon', ['Transfer-Encoding : chunked'], `0\r\n\r\n${INNER}`],
    ['a folded header', ['Transfer-Encoding:\r\n chunked'], `0\r\n\r\n${INNER}`],
    ['a NUL in a header', ['X-A: a\u0000b'], ''],
    ['a line end in a header', ['X-A: a\nTransfer-Encoding: chunked'], `0\r\n\r\n${INNER}`],
    ['a carriage return in a header', ['X-A: a\rTransfer-Encoding: chunked'], `0\r\n\r\n${INNER}`],
    ['a header without a colon', ['Transfer-Encoding'], INNER],
    ['a header without a name', [': chunked'], INNER],
    ['a bad chunk size', ['Transfer-Encoding: chunked'], `zz\r\n\r\n${INNER}`],
    ['a negative chunk size', ['Transfer-Encoding: chunked'], `-1\r\n\r\n${INNER}`],
    ['a huge chunk size', ['Transfer-Encoding: chunked'], `10000000000000000\r\n${INNER}`],
    ['a chunk longer than its size', ['Transfer-Encoding: chunked'], `1\r\nab\r\n0\r\n\r\n${INNER}`],
  ];
  for (const [name, headers, body] of cases) {
    const connection = await RawConnection.open(registry.host);
    try {
      await connection.write(head('POST /v2/smuggle/app/blobs/uploads/ HTTP/1.1', ...headers));
      await connection.write(body);
      const statuses = (await connection.untilClosed()).map((answer) => answer.status);
      // Where only the body is malformed, the request may have been answered before that was seen.
      const early = name.includes('chunk size') || name.includes('chunk longer');
      const allowed = early ? ['', '400', '202', '202,400'] : ['', '400'];
      expect([name, statuses, allowed.includes(String(statuses))]).toEqual([name, statuses, true]);
      expect(connection.text()).not.toContain('CANARY');
    } finally {
      connection.close();
    }
  }
});

test('security 47: a body that is refused early is not read as the next request', async () => {
  const wrong = digestBy('sha256', Buffer.from('other'));
  const refused: readonly (readonly [string, ...string[]])[] = [
    ['PUT /v2/smuggle/app/manifests/new HTTP/1.1', 'Content-Type: text/html'],
    ['PUT /v2/smuggle/app/manifests/sha256:bad HTTP/1.1', `Content-Type: ${OCI_MANIFEST}`],
    ['PUT /v2/SMUGGLE/manifests/new HTTP/1.1', `Content-Type: ${OCI_MANIFEST}`],
    ['POST /v2/smuggle/app/blobs/uploads/?digest=bad HTTP/1.1'],
    [`POST /v2/smuggle/app/blobs/uploads/?digest=${wrong} HTTP/1.1`],
    ['PATCH /v2/smuggle/app/blobs/uploads/00000000-0000-4000-8000-000000000000 HTTP/1.1'],
    [
      'PATCH /v2/smuggle/app/blobs/uploads/00000000-0000-4000-8000-000000000000 HTTP/1.1',
      'Content-Encoding: gzip',
    ],
    [`PUT /v2/smuggle/app/blobs/uploads/00000000-0000-4000-8000-000000000000?digest=${wrong} HTTP/1.1`],
    ['POST /v2/smuggle/app/manifests/latest HTTP/1.1'],
    ['GET /v2/smuggle/app/manifests/none HTTP/1.1'],
    ['DELETE /v2/smuggle/app/manifests/none HTTP/1.1'],
    ['PUT /nowhere HTTP/1.1'],
  ];
  const chunked = `${INNER.length.toString(16)}\r\n${INNER}\r\n0\r\n\r\n`;
  for (const [line, ...headers] of refused) {
    for (const [framing, body] of [
      [`Content-Length: ${INNER.length}`, INNER],
      ['Transfer-Encoding: chunked', chunked],
    ] as const) {
      const connection = await RawConnection.open(registry.host);
      try {
        await connection.write(head(line, ...headers, framing) + body);
        await connection.write(head('GET /v2/ HTTP/1.1', 'Connection: close'));
        const statuses = (await connection.untilClosed()).map((answer) => answer.status);
        // The refusal; and then the request that truly follows, unless the connection was ended.
        expect([line, statuses.slice(1)]).toEqual([line, statuses.length > 1 ? [200] : []]);
        expect([line, (statuses[0] ?? 400) >= 400 && (statuses[0] ?? 400) < 500]).toEqual([line, true]);
        expect(connection.text()).not.toContain('CANARY');
      } finally {
        connection.close();
      }
    }
  }
});

test('security 47: pipelined requests are answered one by one and in order', async () => {
  const connection = await RawConnection.open(registry.host);
  const get = (path: string, ...headers: string[]) => head(`GET ${path} HTTP/1.1`, ...headers);
  await connection.write(
    get('/v2/') +
      get('/v2/smuggle/app/manifests/none') +
      get('/v2/smuggle/app/tags/list', 'Connection: close'),
  );
  const answers = await connection.untilClosed();
  expect(answers.map((answer) => answer.status)).toEqual([200, 404, 200]);
  connection.close();
});

test('security 47: an upload that breaks off leaves no half request and no content', async () => {
  const location = await beginUpload(registry.url, 'smuggle/app');
  const connection = await RawConnection.open(registry.host);
  const path = new URL(closing(location, digestBy('sha256', Buffer.from('half and half'))));
  await connection.write(head(`PUT ${path.pathname}${path.search} HTTP/1.1`, 'Content-Length: 13'));
  await connection.write('half');
  connection.close();
  await ask(registry.url, `/v2/smuggle/app/blobs/${digestBy('sha256', Buffer.from('half'))}`, 404);
  await ask(registry.url, `/v2/smuggle/app/blobs/${digestBy('sha256', Buffer.from('half and half'))}`, 404);
});

test('security 48: an encoded body is refused on every route that takes one', async () => {
  const location = await beginUpload(registry.url, 'smuggle/app');
  const digest = digestBy('sha256', Buffer.from('encoded'));
  for (const encoding of ['gzip', 'br', 'deflate', 'zstd', 'x-gzip', 'gzip, gzip', 'aws-chunked']) {
    const headers = { 'content-encoding': encoding, 'content-type': OCI_MANIFEST };
    for (const [method, url] of [
      ['PATCH', location.href],
      ['PUT', closing(location, digest)],
      ['POST', `${registry.url}/v2/smuggle/app/blobs/uploads/?digest=${digest}`],
      ['PUT', `${registry.url}/v2/smuggle/app/manifests/encoded`],
    ] as const) {
      const answer = await fetch(url, { method, headers, body: 'encoded' });
      expect([encoding, method, answer.status]).toEqual([encoding, method, 415]);
      expect(await errorCode(answer)).toBe('UNSUPPORTED');
    }
  }
  expect((await ask(registry.url, location.href, 204)).headers.get('range')).toBe('0-0');
  await ask(registry.url, closing(location, digest), 201, { method: 'PUT', body: 'encoded' });
  await ask(registry.url, '/v2/smuggle/app/manifests/encoded', 404);
});

test('security 48: content is never encoded on its way out', async () => {
  for (const path of ['manifests/latest', `blobs/${image.layer}`]) {
    const answer = await ask(registry.url, `/v2/smuggle/app/${path}`, 200, {
      headers: { 'accept-encoding': 'gzip, br, zstd, deflate' },
    });
    expect(answer.headers.get('content-encoding')).toBeNull();
    expect(answer.headers.get('content-length')).toBe(String((await answer.arrayBuffer()).byteLength));
  }
});
