/** Asking a directory (Pebble) through an HTTP proxy that wants a password. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { createPlainHandler } from '../../src/protocol/plain-handler.ts';
import { proxyFor } from '../../src/proxy/http-proxy.ts';
import type { Listener } from '../../src/server/listener.ts';
import { listen } from '../../src/server/runtime.ts';
import { newKey } from '../../src/tls/acme-folder.ts';
import { type AcmeOrder, orderCertificate } from '../../src/tls/acme-order.ts';
import { ChallengeFiles } from '../../src/tls/challenge-files.ts';
import { httpResponder } from '../../src/tls/responders.ts';
import { failureOf } from '../harness/failure-of.ts';
import { type Pebble, startPebble } from '../harness/pebble.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';

let workspace: Workspace;
let pebble: Pebble;
let plain: Listener;
let files: ChallengeFiles;
beforeAll(async () => {
  workspace = await createWorkspace('acme-proxy');
  files = new ChallengeFiles(workspace.path);
  const handler = createPlainHandler({ token: (token) => files.token(token), hosts: () => [] }, 443);
  const address = { hostname: '127.0.0.1', port: 0 };
  plain = await listen({ address, reusePort: false, idleSeconds: 30, handler });
  pebble = await startPebble({ httpPort: plain.port });
});
afterAll(async () => {
  await plain.close();
  await pebble.dispose();
  await workspace.remove();
});

test('a directory behind an HTTP proxy: by HTTPS_PROXY and NO_PROXY as elsewhere, and never without the proxy', async () => {
  const asked: string[] = [];
  const proxy = createServer((_asked, answer) => answer.writeHead(405).end());
  proxy.on('connect', ({ url = '', headers }, socket, head: Buffer) => {
    asked.push(`${url} ${headers['proxy-authorization']}`);
    const [host, port] = url.split(':');
    const onward = connect(Number(port), host, () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      onward.write(head);
      onward.pipe(socket).pipe(onward);
    });
    for (const one of [onward, socket]) one.on('error', () => undefined);
  });
  const port = await new Promise<number>((resolve) =>
    proxy.listen(0, '127.0.0.1', () => resolve((proxy.address() as AddressInfo).port)),
  );
  // The library says an address as the name of a server, which no runtime lets pass.
  const directoryUrl = pebble.directoryUrl.replace('127.0.0.1', 'localhost');
  const { host } = new URL(directoryUrl);
  try {
    const env = { HTTPS_PROXY: `http://me:a%40b@127.0.0.1:${port}` };
    const order: AcmeOrder = {
      directoryUrl,
      ca: await readFile(pebble.ca, 'utf8'),
      accountKey: newKey(),
      hosts: ['a.entrepot.example'],
      responder: httpResponder(files),
      proxyFor: (url) => proxyFor(url, env),
    };
    expect((await orderCertificate(order)).certificate).toStartWith('-----BEGIN CERTIFICATE-----');
    expect(new Set(asked)).toEqual(new Set([`${host} Basic ${btoa('me:a@b')}`]));
    const times = asked.length;
    const except = { ...env, NO_PROXY: 'elsewhere.example, localhost' };
    await orderCertificate({ ...order, proxyFor: (url) => proxyFor(url, except) });
    expect(asked).toHaveLength(times);
    const gone = () => new URL(`http://127.0.0.1:1`);
    const failure = await failureOf(orderCertificate({ ...order, proxyFor: gone }));
    expect(failure.message).toContain('the directory cannot be reached: ECONNREFUSED');
  } finally {
    proxy.close();
    proxy.closeAllConnections();
  }
});
