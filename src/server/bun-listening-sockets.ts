/**
 * What Bun does not offer for the sockets that it listens on, asked of the kernel: that one of them is passed over by
 * clients to come. Linux alone; `bun:ffi` calls libc.
 */
import { readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

export interface ListeningSockets {
  /** Descriptors of all sockets that this process listens on. */
  current(): ReadonlySet<number>;
  /** Of these, those of a port. */
  ofPort(port: number): readonly number[];
  /**
   * Drops the first packet (SYN) of every connection to come. The client sends it again after a second, and when the
   * socket is closed by then, another one that shares the port answers. Connections that are being made go on.
   * @returns false when the kernel refused
   */
  deafen(descriptor: number): boolean;
  /**
   * Has connections accepted when they are made, and not when the client has sent its first bytes (TCP_DEFER_ACCEPT, which
   * Bun sets): in between they would be lost with the socket. Costs one more wake-up for each connection.
   */
  acceptAtOnce(descriptor: number): void;
}

/**
 * How long a server that another one takes the place of goes on with connections that are being made, in milliseconds:
 * some round trips, and less than the second after which a client sends its first packet again.
 */
export const LAST_HANDSHAKES_MS = 800;

/**
 * Has all sockets of a port passed over, and resolves when what has come to them is accepted: they can be closed then
 * without a loss. Elsewhere than on Linux it only waits as long.
 */
export async function leavePort(port: number): Promise<void> {
  const kernel = await listeningSockets();
  for (const one of kernel?.ofPort(port) ?? []) {
    kernel?.acceptAtOnce(one);
    kernel?.deafen(one);
  }
  await delay(LAST_HANDSHAKES_MS);
  // What has come must have been accepted, which happens between two timers at the latest.
  await delay(10);
}

/** How libc is called by glibc and by musl. */
const NAMES = ['libc.so.6', 'libc.musl-x86_64.so.1', 'libc.musl-aarch64.so.1'];

/** asm-generic/socket.h: the same on x86-64 and arm64. */
const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;
const SO_ACCEPTCONN = 30;
const AF_INET = 2;
const AF_INET6 = 10;
const IPPROTO_TCP = 6;
const TCP_DEFER_ACCEPT = 9;

/** linux/filter.h; the packet begins with the TCP header, whose byte 13 has the flags (RFC 9293, 3.1). */
const DROP_SYN: readonly (readonly [code: number, yes: number, no: number, value: number])[] = [
  [0x30, 0, 0, 13], // load byte 13
  [0x54, 0, 0, 0x12], // and SYN|ACK
  [0x15, 0, 1, 0x02], // SYN alone?
  [0x06, 0, 0, 0], // drop
  [0x06, 0, 0, 0xffff_ffff], // take all of it
];

/** @returns undefined where there is no such way: on other systems, or without a libc of a known name */
export async function listeningSockets(): Promise<ListeningSockets | undefined> {
  if (process.platform !== 'linux') return undefined;
  const { dlopen, ptr } = await import('bun:ffi');
  for (const name of NAMES) {
    try {
      const { symbols } = dlopen(name, {
        getsockopt: { args: ['i32', 'i32', 'i32', 'ptr', 'ptr'], returns: 'i32' },
        getsockname: { args: ['i32', 'ptr', 'ptr'], returns: 'i32' },
        setsockopt: { args: ['i32', 'i32', 'i32', 'ptr', 'u32'], returns: 'i32' },
      });
      const filter = new DataView(new ArrayBuffer(8 * DROP_SYN.length));
      for (const [index, [code, yes, no, value]] of DROP_SYN.entries()) {
        filter.setUint16(index * 8, code, true);
        filter.setUint8(index * 8 + 2, yes);
        filter.setUint8(index * 8 + 3, no);
        filter.setUint32(index * 8 + 4, value, true);
      }
      const listens = (descriptor: number): boolean => {
        const answer = new Int32Array(1);
        const size = new Int32Array([4]);
        const code = symbols.getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, ptr(answer), ptr(size));
        return code === 0 && answer[0] === 1;
      };
      // struct sockaddr_in and sockaddr_in6 alike: the family, and the port in the network's order.
      const portOf = (descriptor: number): number => {
        const answer = new DataView(new ArrayBuffer(128));
        const code = symbols.getsockname(descriptor, ptr(answer), ptr(new Int32Array([128])));
        const isInternet = [AF_INET, AF_INET6].includes(answer.getUint16(0, true));
        return code === 0 && isInternet ? answer.getUint16(2) : 0;
      };
      const current = () => new Set(readdirSync('/proc/self/fd').map(Number).filter(listens));
      return {
        current,
        ofPort: (port) => [...current()].filter((descriptor) => portOf(descriptor) === port),
        deafen(descriptor) {
          // struct sock_fprog: the number of instructions, and where they are.
          const program = new DataView(new ArrayBuffer(16));
          program.setUint16(0, DROP_SYN.length, true);
          program.setBigUint64(8, BigInt(ptr(filter)), true);
          return symbols.setsockopt(descriptor, SOL_SOCKET, SO_ATTACH_FILTER, ptr(program), 16) === 0;
        },
        acceptAtOnce: (descriptor) =>
          void symbols.setsockopt(descriptor, IPPROTO_TCP, TCP_DEFER_ACCEPT, ptr(new Int32Array(1)), 4),
      };
    } catch {
      // not this one
    }
  }
  return undefined;
}
