/** Servers that ask for clients' certificates, and clients of them that send exactly the bytes they are given. */
import { readFile } from 'node:fs/promises';
import { connect as connectPlain, type Socket } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import type { TlsOptions } from '../../src/server/listener.ts';
import { run } from '../harness/tools.ts';
import { type Subject, temporaryFolder } from './subject.ts';

/** TLS with a certificate of 127.0.0.1, by the server that tells of clients' certificates; none is needed. */
export async function tlsWithClients(): Promise<TlsOptions> {
  const folder = await temporaryFolder();
  const files = ['-keyout', 'server.key', '-out', 'server.pem'];
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1'];
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  await run('openssl', ['req', '-x509', ...kind, ...subject, ...files], { cwd: folder });
  const [certificate = '', key = ''] = await Promise.all(
    ['pem', 'key'].map((end) => readFile(join(folder, `server.${end}`), 'utf8')),
  );
  return { certificate, key, clientCas: certificate, clientAuth: 'request' };
}

/** A connection by TLS. */
export async function openTls({ port }: Subject, { certificate }: TlsOptions): Promise<TLSSocket> {
  const socket = connectTls({ port, host: '127.0.0.1', ca: certificate });
  socket.on('error', () => undefined);
  await new Promise((resolve) => socket.once('secureConnect', resolve));
  return socket;
}

/** A connection on which nothing is said. */
export async function openBare({ port }: Subject): Promise<Socket> {
  const socket = connectPlain(port, '127.0.0.1');
  socket.on('error', () => undefined);
  await new Promise((resolve) => socket.once('connect', resolve));
  return socket;
}

/** Resolves with what came, when the server has closed the connection. */
export function closed(socket: Socket): Promise<string> {
  let text = '';
  socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
  return new Promise((resolve) => socket.once('close', () => resolve(text)));
}

/** Resolves with all that came, once that `matches`. Rejects when the connection ends before that. */
export function received(socket: Socket, matches: RegExp): Promise<string> {
  let text = '';
  return new Promise((resolve, reject) => {
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      if (matches.test(text)) resolve(text);
    });
    socket.once('close', () => reject(new Error(`closed after ${JSON.stringify(text)}`)));
  });
}
