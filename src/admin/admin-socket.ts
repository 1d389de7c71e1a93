/** The socket by which commands ask a server that runs. Who may open its file may ask. */
import { randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, readFile, rename, stat, unlink } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { withFileLock } from '../file-lock.ts';

/** Bytes that the path of a socket can have (Linux; `sun_path` of unix(7) without its end). */
export const MAX_SOCKET_PATH = 107;
/** Connections at a time: a handful of operators, and scripts that look. */
const MAX_CONNECTIONS = 64;
/** Milliseconds in which a socket of this machine is reached, or is not. */
const REACH_WITHIN = 5_000;

/** The socket cannot be had. The message is for the operator, and says what to do. */
export class AdminSocketUnavailable extends Error {
  override readonly name = 'AdminSocketUnavailable';
}

export interface AdminSocket {
  /** Takes no more connections, cuts those that are open, and removes the file if it is still ours. */
  close(): Promise<void>;
}

/** @throws AdminSocketUnavailable */
export function checkSocketPath(path: string): void {
  const length = Buffer.byteLength(path);
  if (length <= MAX_SOCKET_PATH) return;
  throw new AdminSocketUnavailable(
    `${path}: no socket can have so long a path (${length} bytes, at most ${MAX_SOCKET_PATH}): set admin.socket to a shorter one`,
  );
}

/**
 * Listens; only the user of this process may connect (mode 0600). The file that a crashed server left is replaced.
 * @throws AdminSocketUnavailable when another server listens there, or the path cannot be used
 */
export async function listenForAdmin(
  path: string,
  onConnection: (socket: Socket) => void,
): Promise<AdminSocket> {
  checkSocketPath(path);
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await refuseOthers(path);
    // Under a name of its own: a server removes, when it closes, whatever has the name that it was given. And nobody sees
    // a socket that is not there yet.
    const own = join(dirname(path), `.${randomBytes(3).toString('hex')}`);
    const server = await listen(own);
    const open = new Set<Socket>();
    server.on('connection', (socket: Socket) => {
      open.add(socket);
      socket.once('close', () => open.delete(socket));
      onConnection(socket);
    });
    const ino = await giveName(own, path).catch((error: unknown) => {
      // One that nobody can come to would keep the process from its end.
      server.close();
      throw error;
    });
    return {
      async close() {
        const isOurs = (await lstat(path).catch(() => undefined))?.ino === ino;
        const closed = new Promise<void>((resolve) => {
          server.close(() => resolve());
        });
        for (const socket of open) socket.destroy();
        if (isOurs) await unlink(path).catch(() => undefined);
        await closed;
      },
    };
  } catch (error) {
    if (error instanceof AdminSocketUnavailable) throw error;
    throw new AdminSocketUnavailable(`${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** Of two that come at once one gets it. @returns the inode that has the name now @throws AdminSocketUnavailable */
function giveName(own: string, path: string): Promise<number> {
  return withFileLock(path, async () => {
    await removeStale(path);
    await chmod(own, 0o600);
    await rename(own, path);
    return (await lstat(path)).ino;
  });
}

async function removeStale(path: string): Promise<void> {
  if (await refuseOthers(path)) await unlink(path);
}

/** @returns whether there is a socket that nobody listens on @throws AdminSocketUnavailable where there is anything else */
async function refuseOthers(path: string): Promise<boolean> {
  const present = await lstat(path).catch(() => undefined);
  if (present === undefined) return false;
  if (!present.isSocket()) {
    throw new AdminSocketUnavailable(
      `${path}: there is something that is no socket: remove it, or set admin.socket`,
    );
  }
  const living = await reach(path);
  living?.destroy();
  if (living !== undefined) {
    throw new AdminSocketUnavailable(
      `${path}: another server listens there: give this one its own admin.socket`,
    );
  }
  return true;
}

/** The file never is anybody else's, not even for a moment. */
async function listen(path: string): Promise<Server> {
  const server = createServer();
  server.maxConnections = MAX_CONNECTIONS;
  const before = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, resolve);
    });
  } finally {
    process.umask(before);
  }
  return server;
}

/**
 * Connects to a server of this machine.
 * @returns undefined when there is none
 * @throws Error when there may be one that cannot be asked, such as another user's
 */
export async function reach(path: string): Promise<Socket | undefined> {
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH) return undefined;
  try {
    await lstat(path);
  } catch (error) {
    // In a folder that may not be looked into there may be one.
    if (isForbidden(error)) throw await notAllowed(path);
    return undefined;
  }
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const timer = setTimeout(() => socket.destroy(new Error(`${path}: nobody answers`)), REACH_WITHIN);
    socket.once('connect', () => {
      clearTimeout(timer);
      resolve(socket);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(undefined);
      else if (isForbidden(error)) void notAllowed(path).then(reject);
      else reject(new Error(`${path}: ${error.message}`, { cause: error }));
    });
  });
}

/** Another user's socket: it may be there or not. The message says whose, and what to do. */
export class SocketForbidden extends Error {
  override readonly name = 'SocketForbidden';
}

function isForbidden(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'EACCES' || code === 'EPERM';
}

/** The owner is that of the socket, or of the folder that keeps us from seeing it. */
async function notAllowed(path: string): Promise<SocketForbidden> {
  let place = path;
  let found = await stat(place).catch(() => undefined);
  while (found === undefined && place !== dirname(place)) {
    place = dirname(place);
    found = await stat(place).catch(() => undefined);
  }
  const owner = found === undefined ? undefined : await userName(found.uid);
  if (owner === undefined)
    return new SocketForbidden(`${path}: permission denied: run this as the server's user`);
  return new SocketForbidden(
    `${path}: permission denied: ${place} belongs to ${owner}: run this as that user, by \`sudo -u ${owner} …\``,
  );
}

/** As `sudo -u` takes it: the name, or `#998` for a user without one. */
async function userName(uid: number): Promise<string> {
  const users = await readFile('/etc/passwd', 'utf8').catch(() => '');
  const line = users.split('\n').find((one) => one.split(':')[2] === String(uid));
  return line?.split(':')[0] ?? `#${uid}`;
}
