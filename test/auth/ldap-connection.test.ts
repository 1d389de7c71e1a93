/** Directories that misbehave, or are in the hands of whoever is on the way to them. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { readFile } from 'node:fs/promises';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { LdapDirectory, type LdapOptions } from '../../src/auth/ldap.ts';
import { failureOf } from '../harness/failure-of.ts';
import { run } from '../harness/tools.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';

const BIND = 0x60;
const SEARCH = 0x63;
const EXTENDED = 0x77;

let workspace: Workspace;
let own: { readonly cert: string; readonly key: string };
let foreign: typeof own;
const servers = new Set<Server>();
const sockets = new Set<Socket>();

beforeAll(async () => {
  workspace = await createWorkspace('ldap-connection');
  const folder = await workspace.folder('certificates');
  const certify = async (name: string, names: string): Promise<typeof own> => {
    const files = ['-keyout', `${folder}/${name}.key`, '-out', `${folder}/${name}.pem`];
    const subject = ['-subj', `/CN=${name}`, '-addext', `subjectAltName=${names}`];
    await run('openssl', [
      'req',
      '-x509',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-days',
      '2',
      ...subject,
      ...files,
    ]);
    const [cert, key] = await Promise.all(
      ['pem', 'key'].map((kind) => readFile(`${folder}/${name}.${kind}`, 'utf8')),
    );
    return { cert: cert ?? '', key: key ?? '' };
  };
  own = await certify('own', 'IP:127.0.0.1');
  foreign = await certify('foreign', 'DNS:elsewhere.test');
}, 300_000);

afterAll(async () => {
  for (const socket of sockets) socket.destroy();
  for (const server of servers) server.close();
  await workspace?.remove();
});

/** Counts its connections. */
async function directory(serve: (socket: Socket) => void): Promise<{ port: number; connections: Socket[] }> {
  const connections: Socket[] = [];
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    connections.push(socket);
    serve(socket);
  });
  servers.add(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { port: (server.address() as AddressInfo).port, connections };
}

function logIn(port: number, more: Partial<LdapOptions> = {}) {
  return new LdapDirectory({
    url: `ldap://127.0.0.1:${port}`,
    startTls: true,
    ca: own.cert,
    baseDn: 'dc=test',
    userFilter: '(uid=${account})',
    groupAttribute: '',
    timeoutMs: 1_000,
    ...more,
  }).authenticate({ kind: 'password', account: 'alice', password: 's3cret' });
}

/** The result of an operation; short messages only. */
function result(id: number, kind: number, code = 0, text = 0): Buffer {
  return Buffer.from([0x30, 12 + text, 2, 1, id, kind, 7 + text, 0x0a, 1, code, 4, 0, 4, text]);
}

function entry(id: number, dn: string): Buffer {
  const name = Buffer.from(dn);
  const head = [0x30, 9 + name.length, 2, 1, id, 0x64, 4 + name.length, 4, name.length];
  return Buffer.concat([Buffer.from(head), name, Buffer.from([0x30, 0])]);
}

interface Asked {
  readonly id: number;
  readonly kind: number;
  readonly text: string;
}

function onAsked(socket: Socket, answer: (asked: Asked) => void): void {
  socket.on('error', () => undefined);
  socket.on('data', (bytes: Buffer) =>
    answer({ id: bytes[4] ?? 0, kind: bytes[5] ?? 0, text: bytes.toString('latin1') }),
  );
}

function secured(socket: Socket, by = own): Socket {
  return new TLSSocket(socket, { isServer: true, ...by });
}

/** Answers StartTLS with these bytes, and goes on by TLS. */
function startsTls(answer: Buffer, serve: (socket: Socket) => void, by = own): (socket: Socket) => void {
  return (socket) =>
    socket.once('data', () => {
      socket.write(answer);
      serve(secured(socket, by));
    });
}

const unavailable = { name: 'AuthenticationUnavailable' };
const ACCEPTED = result(1, 0x78);

test('silence ends, wherever it begins, and leaves no connection', async () => {
  const silent = await directory(() => undefined);
  const halfway = await directory((socket) => socket.once('data', () => socket.write(ACCEPTED)));
  const later = await directory(startsTls(ACCEPTED, (socket) => onAsked(socket, () => undefined)));
  const failures = await Promise.all([
    failureOf(logIn(silent.port)),
    failureOf(logIn(silent.port, { startTls: false })),
    failureOf(logIn(silent.port, { startTls: false, url: `ldaps://127.0.0.1:${silent.port}` })),
    failureOf(logIn(halfway.port)),
    failureOf(logIn(later.port)),
  ]);
  for (const failure of failures) expect(failure).toMatchObject(unavailable);
  for (const socket of [silent, halfway, later].flatMap(({ connections }) => connections)) {
    socket.resume();
    if (!socket.destroyed) await new Promise((resolve) => socket.once('close', resolve));
  }
});

test('what is said before TLS counts for nothing', async () => {
  // Would be the search's answer: the real one disappears in the text of what was said before.
  const swallowed = entry(2, 'uid=alice').length + result(2, 0x65).length;
  const injected = Buffer.concat([ACCEPTED, entry(2, 'uid=evil'), result(2, 0x65, 0, swallowed)]);
  const asked: Asked[] = [];
  for (const said of [injected, result(1, 0x78, 2), Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')]) {
    const { port } = await directory(startsTls(said, (socket) => onAsked(socket, (one) => asked.push(one))));
    expect(await failureOf(logIn(port))).toMatchObject(unavailable);
  }
  expect(asked).toEqual([]);
});

test('a certificate for another host is none', async () => {
  const asked: Asked[] = [];
  const note = (socket: Socket): void => onAsked(socket, (one) => asked.push(one));
  const byStart = await directory(startsTls(ACCEPTED, note, foreign));
  const byTls = await directory((socket) => note(secured(socket, foreign)));
  const url = `ldaps://127.0.0.1:${byTls.port}`;
  expect(await failureOf(logIn(byStart.port, { ca: foreign.cert }))).toMatchObject(unavailable);
  expect(await failureOf(logIn(byTls.port, { ca: foreign.cert, url, startTls: false }))).toMatchObject(
    unavailable,
  );
  expect(asked).toEqual([]);
});

test('a directory that hangs up is not asked again without TLS', async () => {
  const clear: string[] = [];
  const { port, connections } = await directory((socket) => {
    socket.on('data', (bytes: Buffer) => clear.push(bytes.toString('latin1')));
    startsTls(ACCEPTED, (secure) =>
      onAsked(secure, ({ id, kind }) => {
        if (kind === BIND) secure.write(result(id, 0x61));
        else if (kind === SEARCH) secure.end(Buffer.concat([entry(id, 'uid=alice'), result(id, 0x65)]));
      }),
    )(socket);
  });
  expect(await failureOf(logIn(port))).toMatchObject(unavailable);
  expect(connections.length).toBe(1);
  expect(clear.join('')).not.toContain('s3cret');
});

test.each<[code: number, answer: unknown]>([
  [0, { account: 'alice' }],
  [49, 'refused'],
  [53, 'refused'], // locked, says 389 Directory Server
  [19, 'refused'],
  [8, unavailable], // wants TLS
  [51, unavailable],
  [80, unavailable],
])('a login that is answered %i', async (code, answer) => {
  const { port } = await directory((socket) =>
    onAsked(socket, ({ id, kind }) => {
      if (kind === SEARCH) socket.write(Buffer.concat([entry(id, 'uid=alice'), result(id, 0x65)]));
      else if (kind === BIND) socket.write(result(id, 0x61, code));
      else expect(kind).not.toBe(EXTENDED);
    }),
  );
  const got = await logIn(port, { startTls: false }).catch((error: unknown) => error);
  if (typeof answer === 'string') expect(got).toBe(answer as never);
  else expect(got).toMatchObject(answer as object);
});
