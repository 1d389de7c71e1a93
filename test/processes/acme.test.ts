/** Certificates of an ACME directory, in every form that the program is run in. */
import { afterEach, beforeAll, expect, test } from 'bun:test';
import { readdir, readFile, stat } from 'node:fs/promises';
import { request } from 'node:https';
import { connect as connectPlainly } from 'node:net';
import { connect } from 'node:tls';
import { freePort } from '../harness/ports.ts';
import { defaultRuntime, entrepotCommand, type RunningRegistry, startEntrepot } from '../harness/entrepot.ts';
import { type Pebble, startPebble } from '../harness/pebble.ts';
import { run } from '../harness/tools.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';

const NAME = 'registry.entrepot.example';
const isNode = defaultRuntime().startsWith('node');

let workspace: Workspace;
let pebble: Pebble | undefined;
let nodes: readonly RunningRegistry[] = [];
beforeAll(async () => {
  workspace = await createWorkspace('acme');
});
afterEach(async () => {
  await Promise.all(nodes.map((node) => node.dispose()));
  nodes = [];
  await pebble?.dispose();
  pebble = undefined;
});

/** Who signed the certificate that is shown. */
function shown(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, servername: NAME, rejectUnauthorized: false }, () => {
      resolve(String(socket.getPeerCertificate().issuer.CN));
      socket.end();
    });
    socket.on('error', reject);
  });
}

/** Waits until every worker shows a certificate of Pebble: a dozen connections in a row. */
async function untilSigned(port: number): Promise<void> {
  for (let times = 0; times < 12;) {
    times = (await shown(port).catch(() => '')).startsWith('Pebble') ? times + 1 : 0;
    if (times === 0) await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** The status of a request by TLS that trusts one authority only. */
function status(port: number, ca: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const where = { host: '127.0.0.1', port, path: '/v2/', ca, servername: NAME, agent: false };
    const asked = request(where, (answer) => {
      answer.resume();
      answer.on('end', () => resolve(answer.statusCode ?? 0));
    });
    asked.on('error', reject).end();
  });
}

/** The status line of a request whose path is sent as it is: clients would tidy it. */
function rawStatus(port: number, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connectPlainly({ host: '127.0.0.1', port }, () => {
      socket.write(`GET ${path} HTTP/1.1\r\nHost: ${NAME}\r\nConnection: close\r\n\r\n`);
    });
    socket.setEncoding('latin1').on('data', (part: string) => (text += part));
    socket.on('close', () => resolve(text.split('\r\n')[0] ?? '')).on('error', reject);
  });
}

test('two nodes, two workers each, one order by http-01: all show the certificate; nothing else is told', async () => {
  const plain = [await freePort(), await freePort()];
  const alpnPort = await freePort();
  pebble = await startPebble({ httpPort: plain[0] ?? 0, tlsPort: alpnPort, refusedNonces: 50 });
  const { directoryUrl, ca } = pebble;
  const folder = workspace.join('shared');
  const ports = [await freePort(), await freePort()];
  nodes = await Promise.all(
    ports.map((port, index) =>
      startEntrepot({
        workers: 2,
        port,
        isTls: true,
        config: {
          log: { level: 'info' },
          http: {
            tls: {
              plainaddr: `127.0.0.1:${plain[index] ?? 0}`,
              letsencrypt: { cachefile: folder, hosts: [NAME], directoryurl: directoryUrl, ca },
            },
          },
        },
      }),
    ),
  );
  const orders = isNode ? 2 : 1;
  if (isNode) {
    // Where Node runs it, a third one is asked by TLS beside HTTP.
    const tls = { letsencrypt: { hosts: [NAME], challenge: 'tls-alpn-01', directoryurl: directoryUrl, ca } };
    nodes = [
      ...nodes,
      await startEntrepot({ workers: 2, port: alpnPort, isTls: true, config: { http: { tls } } }),
    ];
    ports.push(alpnPort);
  }
  await Promise.all(ports.map(untilSigned));
  expect(pebble.issued()).toBe(orders);
  const root = await pebble.root();
  for (const port of ports) expect(await status(port, root)).toBe(200);
  // The directory's own root signs its TLS, and not what it issues.
  const trusted = await Promise.allSettled([status(ports[0] ?? 0, await readFile(ca, 'utf8'))]);
  expect(trusted.map((each) => each.status)).toEqual(['rejected']);

  const files = (await readdir(folder, { recursive: true })).sort();
  expect(files).toEqual(['account.key', 'certificate.pem', 'challenges', 'state.json']);
  for (const name of ['account.key', 'certificate.pem', 'state.json']) {
    expect({ name, mode: (await stat(`${folder}/${name}`)).mode & 0o777 }).toEqual({ name, mode: 0o600 });
  }
  const below = '/.well-known/acme-challenge/';
  for (const path of ['unknown-token-of-good-length', '..%2faccount.key', '%2e%2e%2faccount.key', '']) {
    expect([path, await rawStatus(plain[0] ?? 0, `${below}${path}`)]).toEqual([
      path,
      'HTTP/1.1 404 Not Found',
    ]);
  }
  // Every parser of URLs resolves this to a path outside, which is TLS's.
  const outside = await rawStatus(plain[0] ?? 0, `${below}../account.key`);
  expect(outside).toBe('HTTP/1.1 308 Permanent Redirect');
  for (const node of nodes) expect(await node.stop()).toBe(0);
}, 300_000);

// Bun's TLS cannot show another certificate by the client's protocol.
if (!isNode)
  test('tls-alpn-01 is refused where it cannot be answered', async () => {
    const { command, args } = await entrepotCommand();
    const settings = { hosts: [NAME], challenge: 'tls-alpn-01', directoryurl: 'https://127.0.0.1:1/' };
    const env = {
      REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY: workspace.join('refused'),
      REGISTRY_HTTP_ADDR: `127.0.0.1:${await freePort()}`,
      REGISTRY_HTTP_TLS_LETSENCRYPT: JSON.stringify(settings),
    };
    const { code, stderr } = await run(command, [...args, 'serve'], { env, mayFail: true });
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringContaining('http.tls.letsencrypt.challenge: tls-alpn-01 needs a runtime'),
    });
  }, 300_000);
