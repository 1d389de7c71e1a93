import { randomBytes } from 'node:crypto';
import type { Stats } from 'node:fs';
import { chmod, chown, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
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
  if (!found.isSocket()) throw noSocket(path);
  if (await answers(path)) throw addressFailure({ unix: path }, coded('EADDRINUSE'));
  await unlink(path).catch(() => undefined);
}

/**
 * Listens on a unix socket in place of whoever does now, so that no client finds nobody: on another path in the same
 * folder, which then takes the path's place at once. Who listened before keeps what has connected to it, and removes
 * nothing when it closes, as its own path is gone. Who may connect stays the same: mode, owner and group are those of the
 * socket that was there, as far as this process may give them.
 * @param start listens on the path that it is given
 * @throws AddressUnavailable when there is something else than a socket, or no folder; and what `start` throws
 */
export async function takeOverPath<T>(path: string, start: (path: string) => T | Promise<T>): Promise<T> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) await clearStaleSocket(path);
  else if (!found.isSocket()) throw noSocket(path);
  // No longer than the path itself, whose length has a limit, where that is not very short.
  const length = Math.max(MIN_NAME, Buffer.byteLength(basename(path)));
  const beside = join(
    dirname(path),
    `.${randomBytes(MAX_NAME)
      .toString('hex')
      .slice(0, Math.min(length, MAX_NAME) - 1)}`,
  );
  const started = await start(beside);
  // Before it has the name by which others come, so that nobody is refused in between.
  if (found !== undefined) await grantAs(found, beside, path);
  await rename(beside, path);
  return started;
}

/** Bits of a mode for the group, and how far they are from those for everybody. */
const GROUP_BITS = 0o070;
const GROUP_SHIFT = 3;

/** Gives mode, owner and group of a socket that was there to the one that takes its place, whose name will be `name`. */
async function grantAs({ mode, uid, gid }: Stats, path: string, name: string): Promise<void> {
  const made = await stat(path);
  // Only root may give a file to another user; its owner may give it to a group that the process is in.
  const given = made.uid === uid || (await may(chown(path, uid, made.gid)));
  const grouped = made.gid === gid || (await may(chown(path, given ? uid : made.uid, gid)));
  // What one group was allowed is no right of another one, beyond what everybody has.
  const bits = grouped ? mode & 0o777 : (mode & 0o707) | (mode & ((mode << GROUP_SHIFT) & GROUP_BITS));
  await may(chmod(path, bits));
  if (!grouped)
    process.emitWarning(
      `${name}: the new socket could not be given to group ${gid}, which the one before had: the server's user is not in that group`,
    );
}

function may(attempt: Promise<void>): Promise<boolean> {
  return attempt.then(
    () => true,
    () => false,
  );
}

/** Bytes of a name that nobody else has, and that is in the way of none. */
const MIN_NAME = 6;
const MAX_NAME = 16;

function noSocket(path: string): AddressUnavailable {
  return new AddressUnavailable(`cannot listen on ${path}: it exists and is no socket`, 'EEXIST');
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
