import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { createHash, X509Certificate } from 'node:crypto';
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { alternativeNames } from '../../src/server/alternative-names.ts';
import type { ClientAuth, TlsOptions } from '../../src/server/listener.ts';
import { run } from '../harness/tools.ts';
import {
  cleanUp,
  type Line,
  RUNTIMES,
  start,
  stop,
  type Subject,
  temporaryFolder,
  untilAsked,
} from './subject.ts';

let folder: string;

async function openssl(...args: readonly string[]): Promise<void> {
  await run('openssl', args, { cwd: folder });
}

/** A key and a certificate that `issuer` signed, or the certificate itself. */
async function certify(name: string, subject: string, names: string, issuer?: string): Promise<void> {
  const key = ['-newkey', 'rsa:2048', '-nodes', '-keyout', `${name}.key`, '-subj', subject];
  if (issuer === undefined) {
    await openssl(
      'req',
      '-x509',
      ...key,
      '-out',
      `${name}.pem`,
      '-days',
      '2',
      '-addext',
      `subjectAltName=${names}`,
    );
    return;
  }
  await openssl('req', ...key, '-out', `${name}.csr`);
  await writeFile(join(folder, `${name}.ext`), `subjectAltName=${names}\n`);
  const by = ['-CA', `${issuer}.pem`, '-CAkey', `${issuer}.key`, '-CAcreateserial'];
  await openssl(
    'x509',
    '-req',
    '-in',
    `${name}.csr`,
    ...by,
    '-out',
    `${name}.pem`,
    '-days',
    '2',
    '-extfile',
    `${name}.ext`,
  );
}

beforeAll(async () => {
  folder = await temporaryFolder();
  await certify('server', '/CN=localhost', 'IP:127.0.0.1');
  await certify('authority', '/CN=authority', 'DNS:authority');
  await certify(
    'builder',
    '/CN=builder/OU=ci/OU=dev',
    'URI:spiffe://example.org/ci,DNS:ci.example,IP:10.0.0.7,email:a@b.c',
    'authority',
  );
  await certify('stranger', '/CN=builder', 'DNS:ci.example');
  await certify('tricky', '/CN=one/CN=builder', '@names\n[names]\nURI.1=http://a/,DNS:admin', 'authority');
}, 300_000);

afterAll(cleanUp);

async function tls(clientAuth: ClientAuth): Promise<TlsOptions> {
  const text = (name: string) => readFile(join(folder, name), 'utf8');
  return {
    certificate: await text('server.pem'),
    key: await text('server.key'),
    clientCas: await text('authority.pem'),
    clientAuth,
  };
}

/** What curl gets with a client's certificate; undefined when the connection is refused. */
async function ask(
  subject: Subject,
  path: string,
  client?: string,
  ...more: readonly string[]
): Promise<string | undefined> {
  const proof = client === undefined ? [] : ['--cert', `${client}.pem`, '--key', `${client}.key`];
  const url = `https://127.0.0.1:${subject.port}${path}`;
  const args = ['-sS', '--max-time', '200', '--cacert', 'server.pem', ...proof, ...more, url];
  const { code, stdout } = await run('curl', args, { cwd: folder, mayFail: true });
  return code === 0 ? stdout : undefined;
}

async function who(subject: Subject, client?: string): Promise<unknown> {
  const answer = await ask(subject, '/who', client);
  return answer === undefined ? 'refused' : ((JSON.parse(answer) as Line)['certificate'] ?? 'nobody');
}

describe.each(RUNTIMES.map((runtime) => [runtime] as const))('%s', (runtime) => {
  test('the certificate of a client is known, if one of our authorities signed it', async () => {
    const subject = await start(runtime, { tls: await tls('require-and-verify'), workers: 2 });
    const { raw } = new X509Certificate(await readFile(join(folder, 'builder.pem')));
    expect(await who(subject, 'builder')).toEqual({
      commonName: 'builder',
      organizationalUnits: ['ci', 'dev'],
      alternativeNames: ['URI:spiffe://example.org/ci', 'DNS:ci.example', 'IP:10.0.0.7', 'email:a@b.c'],
      fingerprint: createHash('sha256').update(raw).digest('hex'),
    });
    // Two names are none, and a comma in a name does not make two of it.
    expect(await who(subject, 'tricky')).toMatchObject({
      commonName: '',
      alternativeNames: ['URI:http://a/,DNS:admin'],
    });
    expect(await who(subject, 'stranger')).toBe('refused');
    expect(await who(subject)).toBe('refused');
    await stop(subject);
  });

  test.each<[ClientAuth, stranger: string, none: string]>([
    ['request', 'nobody', 'nobody'],
    ['require-any', 'nobody', 'refused'],
    ['verify-if-given', 'refused', 'nobody'],
  ])('%s', async (mode, stranger, none) => {
    const subject = await start(runtime, { tls: await tls(mode) });
    expect(await who(subject, 'builder')).toMatchObject({ commonName: 'builder' });
    expect([await who(subject, 'stranger'), await who(subject)]).toEqual([stranger, none]);
    await stop(subject);
  });

  test('large bodies go both ways, several requests by one connection, and a drain waits', async () => {
    const subject = await start(runtime, { tls: await tls('require-and-verify') });
    const path = join(folder, 'large');
    await writeFile(path, '');
    await truncate(path, 100_000_000);
    expect(await ask(subject, '/upload', 'builder', '-T', path)).toBe('{"size":100000000}');
    const size = ['-o', '/dev/null', '-w', '%{size_download} %{num_connects}\n'];
    const twice = await ask(
      subject,
      `/file?path=${path}`,
      'builder',
      ...size,
      '--next',
      ...size,
      '--cacert',
      'server.pem',
      '--cert',
      'builder.pem',
      '--key',
      'builder.key',
      `https://127.0.0.1:${subject.port}/file?path=${path}`,
    );
    expect(twice).toBe('100000000 1\n100000000 0\n');
    const slow = ask(subject, '/slow?ms=3000', 'builder');
    await untilAsked(subject, '/slow');
    subject.kill('SIGTERM');
    expect(await slow).toBe('slow');
    expect((await subject.exited).code).toBe(0);
  }, 300_000);
});

test('what is no certificate has no names', () => {
  expect(alternativeNames(Buffer.alloc(0))).toEqual([]);
  for (const bytes of ['30', '3005', '30ff', '3082ffff00', '300330013001']) {
    try {
      expect(alternativeNames(Buffer.from(bytes, 'hex'))).toEqual([]);
    } catch (error) {
      expect(error).toBeInstanceOf(RangeError);
    }
  }
});
