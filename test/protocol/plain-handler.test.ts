/** What plain HTTP answers where the registry speaks TLS: to whom it sends, and to whom not. */
import { expect, test } from 'bun:test';
import { createPlainHandler } from '../../src/protocol/plain-handler.ts';

const HOSTS = ['localhost', '127.0.0.1', 'registry.local', '*.example.org', '10.0.0.7', 'fd00:0:0::7'];

function ask(url: string, hosts = HOSTS, port = 5000): Promise<Response> {
  const request = new Request('http://x/');
  // As Bun's server makes it of any Host header.
  Object.defineProperty(request, 'url', { value: url });
  return createPlainHandler({ hosts: () => hosts }, port)(request);
}

test.each([
  ['http://registry.local/v2/?a=b', 'https://registry.local:5000/v2/?a=b'],
  ['http://REGISTRY.local.:80/', 'https://registry.local:5000/'],
  ['http://a.example.org/', 'https://a.example.org:5000/'],
  ['http://localhost:81/', 'https://localhost:5000/'],
  ['http://[fd00::7]:80/v2/', 'https://[fd00::7]:5000/v2/'],
  ['http://10.0.0.7//evil.example/', 'https://10.0.0.7:5000//evil.example/'],
  // Not ours: to where we are.
  ['http://evil.example/v2/', 'https://registry.local:5000/v2/'],
  ['http://example.org/', 'https://registry.local:5000/'],
  ['http://a.b.example.org/', 'https://registry.local:5000/'],
])('%s is sent to %s', async (url, location) => {
  const { status, headers } = await ask(url);
  expect([status, headers.get('location')]).toEqual([308, location]);
});

test('what cannot be sent anywhere is answered 400', async () => {
  for (const url of ['http://x:99999/', 'http://[::1%25eth0]/', 'http://a b/'])
    expect([url, (await ask(url)).status]).toEqual([url, 400]);
  expect((await ask('http://evil.example/', ['*.example.org'])).status).toBe(400);
  expect((await ask('http://evil.example/', ['localhost'], 443)).headers.get('location')).toBe(
    'https://localhost/',
  );
});
