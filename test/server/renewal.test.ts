/** A certificate that is changed again and again while clients come, stay and pull: nobody may notice. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { readFile } from 'node:fs/promises';
import { Agent, request } from 'node:https';
import { join } from 'node:path';
import type { TlsOptions } from '../../src/server/listener.ts';
import { run } from '../harness/tools.ts';
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

/** The bytes of an answer. Without an agent the connection is the request's own. */
function size(url: string, agent: Agent | false): Promise<number> {
  return new Promise((resolve, reject) => {
    const ca = pairs.map(({ certificate }) => certificate);
    const asked = request(url, { agent, ca }, (answer) => {
      let bytes = 0;
      answer.on('data', (chunk: Buffer) => (bytes += chunk.byteLength));
      answer.on('error', reject);
      answer.on('end', () => resolve(bytes));
    });
    asked.on('error', reject);
    asked.end();
  });
}

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
  ...RUNTIMES.map((runtime) => [runtime, 'with', { clientAuth: 'request' }] as const),
])(
  '%s %s certificates of clients loses no request',
  async (runtime, _with, { clientAuth }: Partial<TlsOptions>) => {
    const [pair] = pairs;
    if (pair === undefined) throw new Error('no certificate');
    const tls = clientAuth === undefined ? pair : { ...pair, clientAuth, clientCas: pair.certificate };
    const renewals = { pairs, times: TIMES, everyMs: EVERY_MS };
    const subject = await start(runtime, { tls, workers: WORKERS, renewals });
    const done = { over: false, answered: 0 };
    const failures: string[] = [];
    const client = async (agent: Agent | false): Promise<void> => {
      while (!done.over || done.answered < TIMES) {
        const begin = Date.now();
        await size(subject.url('/size'), agent).then(
          (bytes) => (bytes === 12_345 ? (done.answered += 1) : failures.push(`${bytes} bytes`)),
          (error: unknown) => {
            const kind = agent === false ? 'new' : 'kept';
            failures.push(`${kind}, after ${Date.now() - begin} ms: ${String(error)}`);
          },
        );
      }
    };
    const kept = Array.from({ length: 3 }, () => new Agent({ keepAlive: true, maxSockets: 1 }));
    const clients = [...Array.from({ length: 12 }, () => false as const), ...kept].map(client);
    const pulled = pullSlowly(subject);
    const told = () => subject.lines.filter((line) => 'renewed' in line);
    await subject.line(() => told().length === WORKERS);
    done.over = true;
    await Promise.all(clients);
    expect(told()).toEqual(Array.from({ length: WORKERS }, () => ({ renewed: TIMES })));
    expect(failures).toEqual([]);
    expect(await pulled).toBe(true);
    for (const agent of kept) agent.destroy();
    await stop(subject);
  },
  120_000,
);
