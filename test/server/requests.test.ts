/** What a handler sees of a request, and what the server refuses by itself: the same on every runtime. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { exchange, RawClient } from './raw-client.ts';
import { cleanUp, RUNTIMES, start, stop, type Subject } from './subject.ts';

afterAll(cleanUp);

interface Echo {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly remoteAddress: string;
  readonly encrypted: boolean;
}

describe.each([...RUNTIMES])('%s', (runtime) => {
  let subject: Subject;
  beforeAll(async () => {
    subject = await start(runtime);
  }, 300_000);
  afterAll(async () => stop(subject));

  const ask = (request: string, method?: string) => exchange(subject.port, request, method);
  const echo = async (request: string): Promise<Echo> => {
    const response = await ask(request);
    expect(response?.status).toBe(200);
    return JSON.parse(response?.body ?? '') as Echo;
  };

  describe('the URL', () => {
    test.each([
      ['/a/b', '/a/b'],
      ['/a/../b', '/b'],
      ['/a/%2e%2E/b', '/b'],
      ['/a\\..\\b', '/b'],
      ['/../../b', '/b'],
      ['/a//b', '/a//b'],
      ['//a/b', '//a/b'],
      ['/a%2fb%00%zz', '/a%2fb%00%zz'],
      ['/a?b=/../c', '/a?b=/../c'],
      ['http://elsewhere.test/a', '/a'],
    ])('%s is seen as %s', async (target, seen) => {
      expect((await echo(`GET ${target} HTTP/1.1\r\nHost: h.test:1\r\n\r\n`)).url).toBe(
        `http://h.test:1${seen}`,
      );
    });

    test('has localhost for want of a Host header in HTTP/1.0', async () => {
      expect((await echo('GET /a HTTP/1.0\r\n\r\n')).url).toBe('http://localhost/a');
    });

    test('has an IPv6 host in brackets', async () => {
      expect((await echo('GET /a HTTP/1.1\r\nHost: [::1]:5000\r\n\r\n')).url).toBe('http://[::1]:5000/a');
    });
  });

  test('the method, headers and address of the client are told', async () => {
    const seen = await echo('DELETE /a HTTP/1.1\r\nHost: h\r\nX-One: 1\r\nx-two: a\r\nX-Two: b\r\n\r\n');
    expect(seen).toMatchObject({ method: 'DELETE', remoteAddress: '127.0.0.1', encrypted: false });
    expect(seen.headers).toMatchObject({ 'x-one': '1', 'x-two': 'a, b' });
  });

  describe('refused with 400', () => {
    const refused: Readonly<Record<string, string>> = {
      'no Host in HTTP/1.1': 'GET / HTTP/1.1\r\n\r\n',
      'an empty Host': 'GET / HTTP/1.1\r\nHost: \r\n\r\n',
      'a Host with a space': 'GET / HTTP/1.1\r\nHost: a b\r\n\r\n',
      'a Host with a path': 'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n',
      'a Host with an account': 'GET / HTTP/1.1\r\nHost: a@b\r\n\r\n',
      'two Hosts': 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n',
      'an asterisk as target': 'OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n',
      CONNECT: 'CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n',
      'both lengths':
        'POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      'two lengths': 'POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd',
      'a signed length': 'POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc',
      'a negative length': 'POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: -3\r\n\r\nabc',
      'a hexadecimal length': 'POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 0x3\r\n\r\nabc',
      'another transfer coding':
        'POST /upload HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n',
      'NUL in a header': 'GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n',
      'a folded header': 'GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n',
      'a space before the colon': 'GET / HTTP/1.1\r\nHost: h\r\nX : a\r\n\r\n',
    };
    test.each(Object.entries(refused))('%s', async (_name, request) => {
      expect((await ask(request))?.status).toBe(400);
    });
  });

  test('a bad chunk size is no body', async () => {
    const head = 'POST /upload HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n';
    const response = await ask(`${head}5;\r\nabcde\r\nzz\r\nabc\r\n0\r\n\r\n`);
    expect(response?.status).not.toBe(200);
  });

  test('a method that nobody knows reaches no handler', async () => {
    const response = await ask('FOO / HTTP/1.1\r\nHost: h\r\n\r\n');
    expect([undefined, 400]).toContain(response?.status);
  });

  describe('limits', () => {
    test('a header block of more than 16 KiB is answered 431', async () => {
      expect((await ask(`GET / HTTP/1.1\r\nHost: h\r\nX: ${'x'.repeat(17_000)}\r\n\r\n`))?.status).toBe(431);
    });
    test('a URL of more than 16 KiB is refused', async () => {
      const response = await ask(`GET /${'x'.repeat(17_000)} HTTP/1.1\r\nHost: h\r\n\r\n`);
      expect([414, 431]).toContain(response?.status ?? 0);
    });
    test('more than 250 headers are answered 431', async () => {
      const headers = Array.from({ length: 250 }, (_, i) => `X${i}: 1\r\n`).join('');
      expect((await ask(`GET / HTTP/1.1\r\nHost: h\r\n${headers}\r\n`))?.status).toBe(431);
    });
    test('8 KiB of headers, as a long token makes, pass', async () => {
      const token = 'x'.repeat(8192);
      const seen = await echo(`GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer ${token}\r\n\r\n`);
      expect(seen.headers['authorization']).toBe(`Bearer ${token}`);
    });
  });

  test('pipelined requests are answered in their order', async () => {
    const client = new RawClient({ port: subject.port, host: '127.0.0.1' });
    const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: h\r\n\r\n`;
    client.send(get('/size') + get('/a') + get('/size'));
    expect((await client.response())?.body).toHaveLength(12_345);
    expect(((await client.response())?.body ?? '').includes('/a')).toBe(true);
    expect((await client.response())?.body).toHaveLength(12_345);
    client.destroy();
  });

  // Bun ends the connection when a request comes before the last answer, which HTTP allows: clients then repeat.
  test('a request pipelined behind one under way never gets the answer of another', async () => {
    const client = new RawClient({ port: subject.port, host: '127.0.0.1' });
    client.send('GET /slow?ms=100 HTTP/1.1\r\nHost: h\r\n\r\nGET /size HTTP/1.1\r\nHost: h\r\n\r\n');
    const [first, second] = [await client.response(), await client.response()];
    expect([undefined, 'slow']).toContain(first?.body);
    if (second !== undefined) expect(second.body).toHaveLength(12_345);
    client.destroy();
  });

  test('a request after an upload on the same connection is read where it begins', async () => {
    const client = new RawClient({ port: subject.port, host: '127.0.0.1' });
    client.send(
      'POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET /a HTTP/1.1\r\nHost: h\r\n\r\n',
    );
    expect((await client.response())?.body).toBe('{"size":3}');
    expect((await client.response())?.status).toBe(200);
    client.destroy();
  });

  test('a client that waits for 100 Continue is told so', async () => {
    const client = new RawClient({ port: subject.port, host: '127.0.0.1' });
    client.send('POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n');
    expect((await client.response())?.status).toBe(100);
    client.send('abc');
    expect((await client.response())?.body).toBe('{"size":3}');
    client.destroy();
  });

  test('Connection: close is honoured', async () => {
    const client = new RawClient({ port: subject.port, host: '127.0.0.1' });
    client.send('GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n');
    expect((await client.rest()).startsWith('HTTP/1.1 200')).toBe(true);
  });

  test('a client that has ended its sending side gets its answer', async () => {
    const client = new RawClient({ port: subject.port, host: '127.0.0.1', allowHalfOpen: true });
    client.socket.end('GET /a HTTP/1.1\r\nHost: h\r\n\r\n');
    expect((await client.response())?.status).toBe(200);
    client.destroy();
  });

  test('a handler that throws is answered 500 without a detail', async () => {
    const response = await ask('GET /throw HTTP/1.1\r\nHost: h\r\n\r\n');
    expect(response?.status).toBe(500);
    expect(response?.headers.get('content-type')).toBe('application/json');
    expect(response?.body).toBe('{"errors":[]}');
  });
});
