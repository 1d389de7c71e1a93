/** Several certificates on one port, and what of TLS is spoken: the same on all runtimes, with and without clients' own. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { NamedCertificate, ServerCertificate, TlsOptions } from '../../src/server/listener.ts';
import { forName, namesOf } from '../../src/server/server-certificates.ts';
import { run } from '../harness/tools.ts';
import { RawClient } from './raw-client.ts';
import { cleanUp, RUNTIMES, start, stop, type Subject, temporaryFolder } from './subject.ts';

let folder: string;
const pairs = new Map<string, ServerCertificate>();

beforeAll(async () => {
  folder = await temporaryFolder();
  const make = async (name: string) => {
    const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
    const files = ['-keyout', `${name}.key`, '-out', `${name}.pem`];
    await run('openssl', ['req', '-x509', ...kind, '-subj', `/CN=${name}`, ...files], { cwd: folder });
    const text = (end: string) => readFile(join(folder, `${name}.${end}`), 'utf8');
    pairs.set(name, { certificate: await text('pem'), key: await text('key') });
  };
  await Promise.all(['default', 'one', 'wild', 'exact', 'later', 'client'].map(make));
}, 300_000);

afterAll(cleanUp);

function pair(name: string): ServerCertificate {
  const found = pairs.get(name);
  if (found === undefined) throw new Error(`no certificate is called ${name}`);
  return found;
}

const named = (name: string, ...names: readonly string[]): NamedCertificate => ({ ...pair(name), names });

/** With the two ways of a server: Bun's own, and the one that tells of clients' certificates. */
const KINDS = RUNTIMES.flatMap((runtime) =>
  (['alone', 'with clients’ certificates'] as const).map((kind) => [runtime, kind] as const),
);

interface Handshake {
  /** Of the certificate that was shown. */
  readonly name: string | undefined;
  readonly protocol: string | undefined;
  readonly cipher: string | undefined;
}

async function handshake({ port }: Subject, ...args: readonly string[]): Promise<Handshake> {
  const options = ['-connect', `127.0.0.1:${port}`, '-ign_eof', ...args];
  const input = 'GET /size HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n';
  const { stdout } = await run('openssl', ['s_client', ...options], {
    input,
    mayFail: true,
    timeout: 200_000,
  });
  const cipher = /^New, (?:TLSv[\d.]+), Cipher is (\S+)$/m.exec(stdout)?.[1];
  return {
    name: /^subject=CN ?= ?(\S+)$/m.exec(stdout)?.[1],
    protocol: /^\s*Protocol\s*: (\S+)$/m.exec(stdout)?.[1] ?? /^New, (TLSv[\d.]+)/m.exec(stdout)?.[1],
    cipher,
  };
}

async function shown(subject: Subject, name: string | undefined): Promise<string | undefined> {
  return (await handshake(subject, ...(name === undefined ? ['-noservername'] : ['-servername', name]))).name;
}

async function renew(subject: Subject, certificates: object): Promise<unknown> {
  const body = JSON.stringify(certificates);
  const proof = ['--cert', 'client.pem', '--key', 'client.key'];
  const asked = await run('curl', ['-sSk', ...proof, '-d', '@-', subject.url('/renew')], {
    cwd: folder,
    input: body,
  });
  return JSON.parse(asked.stdout);
}

/** Whose certificate the client has, as the handler is told that was asked by that name. */
async function known({ port }: Subject, name: string): Promise<unknown> {
  const proof = ['--cert', 'client.pem', '--key', 'client.key', '--resolve', `${name}:${port}:127.0.0.1`];
  const { stdout } = await run('curl', ['-sSk', ...proof, `https://${name}:${port}/who`], { cwd: folder });
  return (JSON.parse(stdout) as { certificate?: { commonName: string } }).certificate?.commonName;
}

describe.each(KINDS)('%s, %s', (runtime, kind) => {
  const begin = (more: Partial<TlsOptions>): Promise<Subject> => {
    const clients =
      kind === 'alone' ? {} : { clientCas: pair('client').certificate, clientAuth: 'request' as const };
    return start(runtime, { tls: { ...pair('default'), ...clients, ...more } });
  };

  test('the certificate is that of the name, and others are taken up', async () => {
    const first = [
      named('one', 'a.test', 'other.TEST'),
      named('wild', '*.b.test', 'a.test'),
      named('exact', 'c.b.test'),
    ];
    const subject = await begin({ named: first });
    const found = async (): Promise<Record<string, string | undefined>> => {
      const asked = [
        'a.test',
        'OTHER.test',
        'x.b.test',
        'c.b.test',
        'y.x.b.test',
        'b.test',
        'none.test',
        undefined,
      ];
      const names = await Promise.all(asked.map((name) => shown(subject, name)));
      return Object.fromEntries(asked.map((name, index) => [name ?? '', names[index]]));
    };
    const before = {
      'a.test': 'one',
      'OTHER.test': 'one',
      'x.b.test': 'wild',
      'c.b.test': 'exact',
      'y.x.b.test': 'default',
      'b.test': 'default',
      'none.test': 'default',
      '': 'default',
    };
    expect(await found()).toEqual(before);
    const client = kind === 'alone' ? undefined : 'client';
    for (const name of ['a.test', 'none.test']) expect(await known(subject, name)).toBe(client);
    expect(await renew(subject, { ...pair('later'), named: [named('default', '*.b.test')] })).toBe(true);
    expect(await found()).toEqual({
      'a.test': 'later',
      'OTHER.test': 'later',
      'x.b.test': 'default',
      'c.b.test': 'default',
      'y.x.b.test': 'later',
      'b.test': 'later',
      'none.test': 'later',
      '': 'later',
    });
    for (const name of ['x.b.test', 'none.test']) expect(await known(subject, name)).toBe(client);
    expect(await renew(subject, pair('default'))).toBe(true);
    expect(await shown(subject, 'x.b.test')).toBe('default');
    await stop(subject);
  }, 300_000);

  test('no older version, and no other cipher, whatever name is asked for', async () => {
    const strict = await begin({ named: [named('one', 'a.test')], minimumVersion: 'tls1.3' });
    const chosen = 'ECDHE-ECDSA-AES256-GCM-SHA384';
    const picky = await begin({ named: [named('one', 'a.test')], ciphers: chosen });
    for (const name of ['a.test', 'b.test']) {
      const ask = (subject: Subject, ...args: readonly string[]) =>
        handshake(subject, '-servername', name, ...args);
      expect(await ask(strict, '-tls1_2')).toMatchObject({ name: undefined });
      expect(await ask(strict, '-tls1_3')).toMatchObject({ protocol: 'TLSv1.3' });
      expect(await ask(picky, '-tls1_1', '-cipher', 'ALL@SECLEVEL=0')).toMatchObject({ name: undefined });
      expect(await ask(picky, '-tls1_2')).toMatchObject({ protocol: 'TLSv1.2', cipher: chosen });
      const others = `ALL:!${chosen}`;
      expect(await ask(picky, '-tls1_2', '-cipher', others)).toMatchObject({ name: undefined });
      // As in Go, what TLS 1.3 speaks is not chosen by that list.
      expect(await ask(picky, '-tls1_3')).toMatchObject({ protocol: 'TLSv1.3' });
    }
    // They stay when the certificate changes.
    expect(await renew(strict, { ...pair('later'), named: [named('exact', 'a.test')] })).toBe(true);
    expect(await renew(picky, { ...pair('later'), named: [named('exact', 'a.test')] })).toBe(true);
    for (const name of ['a.test', 'b.test']) {
      expect(await handshake(strict, '-servername', name, '-tls1_2')).toMatchObject({ name: undefined });
      const others = await handshake(picky, '-servername', name, '-tls1_2', '-cipher', `ALL:!${chosen}`);
      expect(others).toMatchObject({ name: undefined });
      expect(await handshake(picky, '-servername', name, '-tls1_2')).toMatchObject({ cipher: chosen });
    }
    await Promise.all([stop(strict), stop(picky)]);
  }, 300_000);

  test('plain HTTP is told to speak TLS, or ended', async () => {
    const subject = await begin({});
    const client = new RawClient({ port: subject.port, host: '127.0.0.1' });
    client.send('GET /v2/ HTTP/1.1\r\nHost: h\r\n\r\n');
    const answer = await client.response();
    if (runtime === 'bun') expect(answer).toBeUndefined();
    else expect(answer).toMatchObject({ status: 400, body: expect.stringContaining('use https://') });
    await client.closed();
    expect(await shown(subject, undefined)).toBe('default');
    await stop(subject);
  }, 300_000);
});

test('a name is before its wildcard, and the first of two counts', () => {
  const names = namesOf({
    ...pair('default'),
    named: [named('one', 'A.test', '*.test'), named('wild', 'a.test', 'b.test')],
  });
  const found = (name: string) => forName(names, name)?.key;
  expect(['a.TEST', 'b.test', 'c.test', 'test', 'd.c.test', ''].map(found)).toEqual([
    pair('one').key,
    pair('wild').key,
    pair('one').key,
    undefined,
    undefined,
    undefined,
  ]);
});
