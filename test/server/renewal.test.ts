/** A certificate that is changed again and again while clients come, stay and pull: nobody may notice. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TlsOptions } from '../../src/server/listener.ts';
import { run } from '../harness/tools.ts';
import { startClients } from './steady.ts';
import { cleanUp, RUNTIMES, start, stop, type Subject, temporaryFolder } from './subject.ts';

/** How often each worker changes it, and the least number of requests that must be answered meanwhile. */
const TIMES = 100;
const EVERY_MS = 80;
const WORKERS = 2;

let pairs: readonly TlsOptions[];
beforeAll(async () => {
  const folder = await temporaryFolder();
  const make = async (name: string): Promise<TlsOptions> => {
    const files = [`${name}.pem`, `${name}.key`].map((file) => join(folder, file));
    const [certificate = '', key = ''] = files;
    const subject = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1'];
    const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
    await run('openssl', ['req', '-x509', ...kind, ...subject, '-keyout', key, '-out', certificate]);
    return { certificate: await readFile(certificate, 'utf8'), key: await readFile(key, 'utf8') };
  };
  pairs = await Promise.all(['one', 'two'].map(make));
});
afterAll(cleanUp);

/** Whether all bytes came of a pull that takes about as long as the renewals. */
async function pullSlowly(subject: Subject): Promise<boolean> {
  const ca = pairs.map(({ certificate }) => certificate);
  const chunks = 400;
  const answer = await fetch(subject.url(`/stream?chunks=${chunks}&bytes=65536`), { tls: { ca } });
  let bytes = 0;
  for await (const chunk of answer.body ?? []) {
    bytes += chunk.byteLength;
    await Bun.sleep(20);
  }
  return bytes === chunks * 65_536;
}

test.concurrent.each([
  ...RUNTIMES.map((runtime) => [runtime, 'without', {}] as const),
  // The front of client certificates is the same on all of them.
  ['bun', 'with', { clientAuth: 'request' }] as const,
])(
  '%s %s certificates of clients loses no request',
  async (runtime, _with, { clientAuth }: Partial<TlsOptions>) => {
    const [pair] = pairs;
    if (pair === undefined) throw new Error('no certificate');
    const tls = clientAuth === undefined ? pair : { ...pair, clientAuth, clientCas: pair.certificate };
    const renewals = { pairs, times: TIMES, everyMs: EVERY_MS };
    const subject = await start(runtime, { tls, workers: WORKERS, renewals });
    const ca = pairs.map(({ certificate }) => certificate);
    const load = { url: subject.url('/size'), ca, bytes: 12_345, fresh: 12, kept: 3, atLeast: TIMES };
    const endClients = await startClients(load);
    const pulled = pullSlowly(subject);
    const told = () => subject.lines.filter((line) => 'renewed' in line);
    await subject.line(() => told().length === WORKERS);
    const { answered, failures } = await endClients();
    expect(told()).toEqual(Array.from({ length: WORKERS }, () => ({ renewed: TIMES })));
    expect(failures).toEqual([]);
    expect(answered).toBeGreaterThanOrEqual(TIMES);
    expect(await pulled).toBe(true);
    await stop(subject);
  },
  300_000,
);
