import { stat, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Address } from './listener.ts';

/** An address that cannot be listened on. The message is one line for the operator and says what to do. */
export class AddressUnavailable extends Error {
  override readonly name = 'AddressUnavailable';
  /** The system's error code, e.g. `EADDRINUSE`. */
  readonly code: string;
  constructor(message: string, code: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

/** The address as an operator writes it: `127.0.0.1:5000`, `[::1]:5000`, `:5000`, `/run/entrepot.sock`. */
export function formatAddress(address: Address): string {
  if ('unix' in address) return address.unix;
  const { hostname, port } = address;
  return `${hostname.includes(':') ? `[${hostname}]` : hostname}:${port}`;
}

const ADVICE: Readonly<Record<string, string>> = {
  EADDRINUSE: 'it is in use by another process; stop that one or choose another address',
  EACCES: 'not permitted; ports below 1024 need root, the capability CAP_NET_BIND_SERVICE, or another port',
  EADDRNOTAVAIL: 'this machine has no such address; choose one of its own, or leave the host empty for all',
  ENOTFOUND: 'the host name does not resolve; choose an address of this machine',
};

const SOCKET_ADVICE: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another process answers on this socket; stop that one or choose another path',
  EACCES: 'not permitted to create the socket in this folder',
  ENOENT: 'its folder does not exist; create it first',
  EINVAL: 'the path is too long for a unix socket (108 bytes on Linux)',
};

/** What a failed attempt to listen means to the operator. `error` is what either runtime threw. */
export function addressFailure(address: Address, error: unknown): AddressUnavailable {
  if (error instanceof AddressUnavailable) return error;
  let code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (code === 'EAI_AGAIN') code = 'ENOTFOUND';
  const advice = ('unix' in address ? SOCKET_ADVICE : ADVICE)[code];
  const reason = advice ?? (error instanceof Error ? error.message : String(error));
  return new AddressUnavailable(`cannot listen on ${formatAddress(address)}: ${reason}`, code, error);
}

/**
 * Whether the host is a name that does not resolve. To be asked after a failure: Bun 1.4.4 tells that one by
 * whatever error code the system had last.
 */
export async function isUnknownHost(hostname: string): Promise<boolean> {
  if (hostname === '') return false;
  const { lookup } = await import('node:dns/promises');
  return lookup(hostname).then(
    () => false,
    () => true,
  );
}

/** Whether the machine lacks IPv6, as told by a failure to listen on `::`. */
export function lacksIpv6(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'EAFNOSUPPORT' || code === 'EADDRNOTAVAIL' || code === 'EINVAL';
}

/**
 * Removes the socket file that a killed process left behind. One that somebody answers on is left alone, and so
 * is what is no socket.
 * @throws AddressUnavailable when the path is in use, is something else than a socket, or has no folder
 */
export async function clearStaleSocket(path: string): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) {
    // Node tells a missing folder as a missing right.
    const folder = await stat(dirname(path)).catch(() => undefined);
    if (folder === undefined) throw addressFailure({ unix: path }, coded('ENOENT'));
    return;
  }
  if (!found.isSocket()) {
    throw new AddressUnavailable(`cannot listen on ${path}: it exists and is no socket`, 'EEXIST');
  }
  if (await answers(path)) throw addressFailure({ unix: path }, coded('EADDRINUSE'));
  await unlink(path).catch(() => undefined);
}

function coded(code: string): Error {
  return Object.assign(new Error(code), { code });
}

async function answers(path: string): Promise<boolean> {
  // Loaded here because every other start can do without it.
  const { connect } = await import('node:net');
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    // Only a refusal proves that nobody listens: EACCES or a full backlog (EAGAIN) does not.
    socket.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT');
    });
  });
}
