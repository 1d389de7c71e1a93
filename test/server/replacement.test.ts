/** Workers that are replaced (SIGHUP) while clients come and stay: nobody may notice, but some wait for a second. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TlsOptions } from '../../src/server/listener.ts';
import { run } from '../harness/tools.ts';
import { startClients } from './steady.ts';
import { cleanUp, start, stop, temporaryFolder } from './subject.ts';

const WORKERS = 2;
/** How often all workers are replaced. */
const ROLLS = 2;

let pair: TlsOptions;
beforeAll(async () => {
  const folder = await temporaryFolder();
  const [certificate, key] = [join(folder, 'one.pem'), join(folder, 'one.key')];
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  const subject = ['-subj', '/CN=one', '-addext', 'subjectAltName=IP:127.0.0.1'];
  await run('openssl', ['req', '-x509', ...kind, ...subject, '-keyout', key, '-out', certificate]);
  pair = { certificate: await readFile(certificate, 'utf8'), key: await readFile(key, 'utf8') };
});
afterAll(cleanUp);

test.concurrent.each([
  ['bun', 'plain HTTP'],
  ['bun', 'TLS'],
  ['bun', 'TLS with certificates of clients'],
  ['node24', 'plain HTTP'],
  ['node24', 'TLS'],
] as const)(
  '%s, %s: replacing the workers loses no request',
  async (runtime, how) => {
    const tls: TlsOptions =
      how === 'TLS' ? pair : { ...pair, clientAuth: 'request', clientCas: pair.certificate };
    const subject = await start(runtime, { ...(how === 'plain HTTP' ? {} : { tls }), workers: WORKERS });
    const endClients = await startClients({
      url: subject.url('/size'),
      ca: [pair.certificate],
      bytes: 12_345,
      fresh: 12,
      kept: 3,
      atLeast: 100,
    });
    const replaced = () => subject.lines.filter(({ message }) => String(message).endsWith('is replaced'));
    for (let roll = 1; roll <= ROLLS; roll += 1) {
      subject.kill('SIGHUP');
      await subject.line(() => replaced().length === roll * WORKERS);
    }
    const { failures, answered } = await endClients();
    expect(failures).toEqual([]);
    expect(answered).toBeGreaterThanOrEqual(100);
    await stop(subject);
  },
  300_000,
);
