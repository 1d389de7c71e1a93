/** Pebble, Let's Encrypt's own ACME directory for tests, and the DNS server that it asks. All on loopback. */
import { request } from 'node:https';
import { readFile, writeFile } from 'node:fs/promises';
import { type Daemon, startDaemon } from './daemon.ts';
import { freePort } from './ports.ts';
import { requireTool, run } from './tools.ts';
import { createWorkspace } from './workspace.ts';

export interface PebbleOptions {
  /** Where it looks for http-01 on 127.0.0.1, instead of port 80; a port that nobody listens on unless given. */
  readonly httpPort?: number;
  /** Where it looks for tls-alpn-01, instead of port 443. */
  readonly tlsPort?: number;
  /** Percent of good nonces that it refuses; 0 unless given. */
  readonly refusedNonces?: number;
  /** By key identifier: accounts are bound to these only. */
  readonly eabKeys?: Readonly<Record<string, string>>;
  /** Names that it does not sign for. */
  readonly blocked?: readonly string[];
}

/** A running directory. Every name of DNS leads to 127.0.0.1. */
export interface Pebble {
  readonly directoryUrl: string;
  /** The path of the certificate by which its own TLS is verified. */
  readonly ca: string;
  /** PEM: who signs what it issues; another one after each start. */
  root(): Promise<string>;
  /** How many certificates it has issued since it was started first. */
  issued(): number;
  /** Base URL of the DNS server's management: `set-txt`, `clear-txt`. */
  readonly dns: string;
  /** Ends the directory, which forgets everything. */
  down(): Promise<void>;
  /** Starts it again on the same port. */
  up(): Promise<void>;
  dispose(): Promise<void>;
}

/** @throws Error with its output when it does not answer */
export async function startPebble(options: PebbleOptions = {}): Promise<Pebble> {
  const { httpPort, tlsPort, refusedNonces = 0, eabKeys, blocked = [] } = options;
  const workspace = await createWorkspace('pebble');
  const [certificate, key] = [workspace.join('cert.pem'), workspace.join('key.pem')];
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'];
  await run('openssl', ['req', '-x509', ...kind, ...subject, '-keyout', key, '-out', certificate]);
  const ca = await readFile(certificate, 'utf8');
  const [port, management, dnsPort, dnsManagement] = [
    await freePort(),
    await freePort(),
    await freePort(),
    await freePort(),
  ];
  const settings = {
    listenAddress: `127.0.0.1:${port}`,
    managementListenAddress: `127.0.0.1:${management}`,
    certificate,
    privateKey: key,
    httpPort: httpPort ?? (await freePort()),
    tlsPort: tlsPort ?? (await freePort()),
    externalAccountBindingRequired: eabKeys !== undefined,
    externalAccountMACKeys: eabKeys ?? {},
    domainBlocklist: blocked,
  };
  await writeFile(workspace.join('pebble.json'), JSON.stringify({ pebble: settings }));
  const dns = `http://127.0.0.1:${dnsManagement}`;
  const nowhere = ['-http01', '', '-https01', '', '-tlsalpn01', '', '-defaultIPv6', ''];
  const names = await startDaemon(
    requireTool('pebble-challtestsrv'),
    [...nowhere, '-dns01', `127.0.0.1:${dnsPort}`, '-management', `127.0.0.1:${dnsManagement}`],
    { ready: async () => (await fetch(`${dns}/clear-txt`, { method: 'POST', body: '{"host":"x."}' })).ok },
  );
  let earlier = '';
  let directory: Daemon | undefined;
  const up = async () => {
    directory = await startDaemon(
      requireTool('pebble'),
      ['-config', workspace.join('pebble.json'), '-dnsserver', `127.0.0.1:${dnsPort}`],
      {
        env: {
          PEBBLE_VA_NOSLEEP: '1',
          PEBBLE_AUTHZREUSE: '0',
          PEBBLE_WFE_NONCEREJECT: String(refusedNonces),
        },
        ready: async () => (await get(port, '/dir', ca)).includes('newOrder'),
      },
    );
  };
  const down = async () => {
    await directory?.stop('SIGKILL');
    earlier += directory?.logs() ?? '';
    directory = undefined;
  };
  await up();
  return {
    directoryUrl: `https://127.0.0.1:${port}/dir`,
    ca: certificate,
    root: () => get(management, '/roots/0', ca),
    issued: () => `${earlier}${directory?.logs() ?? ''}`.match(/Issued certificate serial/g)?.length ?? 0,
    dns,
    down,
    up,
    dispose: async () => {
      await down();
      await names.stop('SIGKILL');
      await workspace.remove();
    },
  };
}

function get(port: number, path: string, ca: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, path, ca, agent: false, timeout: 5000 }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (part: string) => (text += part));
      answer.on('end', () => resolve(text)).on('error', reject);
    });
    asked.on('timeout', () => asked.destroy(new Error('no answer'))).on('error', reject);
    asked.end();
  });
}
