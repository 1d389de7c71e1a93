/**
 * Connections to an LDAP directory. ldapts could make them itself, but its StartTLS has no limit of time, keeps what
 * came before TLS, and is forgotten when it connects again: then the next password would go out in the clear.
 */
import { connect as connectPlain, isIP, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions, rootCertificates } from 'node:tls';

export interface DirectoryAddress {
  /** `ldaps://` or `ldap://`. */
  readonly url: string;
  readonly startTls: boolean;
  /** Text of a PEM file with authorities beside the usual ones. */
  readonly ca?: string | undefined;
  /** For all that is done here, in milliseconds. */
  readonly timeoutMs: number;
}

/** The extended request 1.3.6.1.4.1.1466.20037 as message 1 (RFC 4511 §4.14.1). */
const START_TLS = Buffer.concat([
  Buffer.from('301d02010177188016', 'hex'),
  Buffer.from('1.3.6.1.4.1.1466.20037'),
]);
/** Bytes that the answer to it may have. */
const MAX_ANSWER = 4096;

/**
 * Connects, with TLS made and the directory's certificate verified where the address asks for it. The socket is the
 * caller's to destroy.
 * @throws Error when that does not work, or not in time
 */
export async function connectDirectory(address: DirectoryAddress): Promise<Socket> {
  const { protocol, hostname, port } = new URL(address.url);
  const host = hostname.replaceAll(/^\[|\]$/g, '') || 'localhost';
  const isTls = protocol === 'ldaps:';
  const tls: ConnectionOptions = {
    host,
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(address.ca === undefined ? {} : { ca: [...rootCertificates, address.ca] }),
  };
  const number = port === '' ? (isTls ? 636 : 389) : Number(port);
  const plain = isTls ? undefined : connectPlain({ host, port: number });
  let socket: Socket = plain ?? connectTls({ ...tls, port: number });
  // Ends whichever of the two is being waited for.
  const deadline = setTimeout(
    () => socket.destroy(new Error('the directory took too long')),
    address.timeoutMs,
  );
  try {
    await happens(socket, isTls ? 'secureConnect' : 'connect');
    if (plain !== undefined && address.startTls) {
      await askForTls(plain);
      socket = connectTls({ ...tls, socket: plain });
      await happens(socket, 'secureConnect');
    }
    return socket;
  } catch (error) {
    socket.destroy();
    plain?.destroy();
    throw error;
  } finally {
    clearTimeout(deadline);
  }
}

function happens(socket: Socket, event: 'connect' | 'secureConnect'): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once(event, resolve);
    // It stays: an error without a listener would end the process.
    socket.on('error', reject);
    socket.once('close', () => reject(new Error('the directory ended the connection')));
  });
}

/** @throws Error when the directory refuses, or says more than its answer: that would be read as if it came by TLS */
function askForTls(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    let received = Buffer.alloc(0);
    const onData = (chunk: Buffer): void => {
      received = Buffer.concat([received, chunk]);
      const length = messageLength(received);
      if (length !== undefined && received.length < length && length <= MAX_ANSWER) return;
      socket.off('data', onData);
      socket.pause();
      if (length === received.length && isSuccess(received)) resolve();
      else reject(new Error('the directory refuses StartTLS, or its answer is none'));
    };
    socket.on('data', onData);
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('the directory ended the connection')));
    socket.write(START_TLS);
  });
}

/** Bytes of the message that begins here; undefined when that is not told yet. */
function messageLength(bytes: Buffer): number | undefined {
  const first = bytes[1];
  if (first === undefined) return undefined;
  if (first < 0x80) return 2 + first;
  const size = first - 0x80;
  if (size === 0 || size > 4) return Number.POSITIVE_INFINITY;
  return bytes.length < 2 + size ? undefined : 2 + size + bytes.readUIntBE(2, size);
}

/** Whether it is the ExtendedResponse to message 1 with the result `success`. Lengths may be of the long form. */
function isSuccess(message: Buffer): boolean {
  const contentAt = (at: number): number => at + 2 + Math.max(0, (message[at + 1] ?? 0) - 0x80);
  const id = contentAt(0);
  const response = id + 3;
  const result = contentAt(response);
  return (
    message[0] === 0x30 &&
    message.subarray(id, response).toString('hex') === '020101' &&
    message[response] === 0x78 &&
    message.subarray(result, result + 3).toString('hex') === '0a0100'
  );
}
