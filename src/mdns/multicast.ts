/** Sends to the group of multicast DNS, and hears it, on every channel. */
import { createSocket, type Socket } from 'node:dgram';
import { type Channel, channelOf } from './links.ts';

/** RFC 6762 §3. */
export const PORT = 5353;
const GROUPS = { IPv4: '224.0.0.251', IPv6: 'ff02::fb' } as const;
/** The longest message there may be (RFC 6762 §17); longer ones are somebody's attempt at something. */
const MAX_MESSAGE = 9_000;
/** How long messages of ours are known again when they come back, in milliseconds, and how many of them. */
const REMEMBERED_MS = 5_000;
const REMEMBERED = 64;

/** Who sent a message, and by which channel it came. */
export interface Source {
  readonly channel: Channel;
  /** With its zone, where it has one. */
  readonly address: string;
  readonly port: number;
}

export interface MulticastOptions {
  /** 0 is one of one's own, to which answers come directly. */
  readonly port: number;
  /** Messages from the links themselves that are not this object's own. */
  readonly onMessage: (message: Buffer, source: Source) => void;
  /** Told of what goes wrong; nothing of it ends anything. */
  readonly onFailure: (error: Error) => void;
}

/** What answers are sent by. */
export interface Sender {
  /** To everybody on a channel. @returns whether it was sent; why not has been told */
  send(channel: Channel, message: Buffer): Promise<boolean>;
  /** To one alone. */
  reply(to: Source, message: Buffer): Promise<boolean>;
}

export class Multicast implements Sender {
  readonly #options: MulticastOptions;
  readonly #sockets = new Map<string, Socket>();
  /** Of each socket, what is sent after what: which interface it leaves by is a state of the socket. */
  readonly #queues = new Map<string, Promise<unknown>>();
  #channels = new Map<string, Channel>();
  readonly #sent = new Map<string, number>();
  #isOver = false;

  /** @throws Error when the port can be had in neither family */
  static async open(options: MulticastOptions): Promise<Multicast> {
    const opened = new Multicast(options);
    const failures: unknown[] = [];
    for (const family of ['IPv4', 'IPv6'] as const) {
      // A machine without IPv6 is told by the failure of its socket alone.
      await opened.#open(family).catch((error: unknown) => failures.push(error));
    }
    if (opened.#sockets.size === 0) throw failures[0];
    return opened;
  }

  private constructor(options: MulticastOptions) {
    this.#options = options;
  }

  async #open(family: Channel['family']): Promise<void> {
    const socket = createSocket(
      family === 'IPv4'
        ? { type: 'udp4', reuseAddr: true }
        : { type: 'udp6', reuseAddr: true, ipv6Only: true },
    );
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.bind({ port: this.#options.port, address: family === 'IPv4' ? '0.0.0.0' : '::' }, () => {
        socket.off('error', reject);
        resolve();
      });
    });
    socket.on('error', (error) => this.#options.onFailure(error));
    socket.on('message', (message, { address, port }) => this.#receive(message, family, address, port));
    socket.setTTL(255);
    socket.setMulticastTTL(255);
    // Programs of this machine are told, too.
    socket.setMulticastLoopback(true);
    socket.unref();
    this.#sockets.set(family, socket);
  }

  /** Speaks on these channels from now on, and hears their groups. @returns those of them whose family there is */
  join(all: readonly Channel[]): readonly Channel[] {
    const channels = all.filter(({ family }) => this.#sockets.has(family));
    this.#channels = new Map(channels.map((channel) => [channel.key, channel]));
    for (const { family, leaveBy } of this.#channels.values()) {
      try {
        // The system lets go of a membership with its interface, so that each look tries it again.
        this.#sockets.get(family)?.addMembership(GROUPS[family], leaveBy);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') this.#options.onFailure(error as Error);
      }
    }
    return channels;
  }

  send(channel: Channel, message: Buffer): Promise<boolean> {
    this.#remember(message);
    const { family, zone } = channel;
    const group = family === 'IPv4' ? GROUPS.IPv4 : `${GROUPS.IPv6}%${zone}`;
    return this.#queued(family, (socket) => {
      socket.setMulticastInterface(channel.leaveBy);
      return transmit(socket, message, PORT, group);
    });
  }

  reply({ channel, address, port }: Source, message: Buffer): Promise<boolean> {
    return this.#queued(channel.family, (socket) => transmit(socket, message, port, address));
  }

  async close(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#queues.values());
    const closed = [...this.#sockets.values()].map(
      (socket) => new Promise<void>((resolve) => socket.close(() => resolve())),
    );
    this.#sockets.clear();
    await Promise.all(closed);
  }

  async #queued(family: string, transmission: (socket: Socket) => Promise<void>): Promise<boolean> {
    const socket = this.#sockets.get(family);
    if (this.#isOver || socket === undefined) return false;
    const turn = (this.#queues.get(family) ?? Promise.resolve()).then(async () => {
      try {
        await transmission(socket);
        return true;
      } catch (error) {
        this.#options.onFailure(error as Error);
        return false;
      }
    });
    this.#queues.set(family, turn);
    return turn;
  }

  #receive(message: Buffer, family: string, address: string, port: number): void {
    if (this.#isOver || message.length > MAX_MESSAGE || this.#isOwn(message)) return;
    const channel = channelOf(this.#channels.values(), address, family);
    // Whoever is not of the link is answered by nobody (RFC 6762 §11), also so that nothing is sent to forged senders.
    if (channel === undefined) return;
    try {
      this.#options.onMessage(message, { channel, address, port });
    } catch (error) {
      // Nobody's message may end the process that announces.
      this.#options.onFailure(error as Error);
    }
  }

  /** What is sent comes back; an older announcement of ours would look like somebody else's claim. */
  #remember(message: Buffer): void {
    const now = Date.now();
    this.#sent.delete(keyOf(message));
    this.#sent.set(keyOf(message), now);
    for (const [key, time] of this.#sent) {
      if (this.#sent.size <= REMEMBERED && now - time < REMEMBERED_MS) break;
      this.#sent.delete(key);
    }
  }

  #isOwn(message: Buffer): boolean {
    return Date.now() - (this.#sent.get(keyOf(message)) ?? 0) < REMEMBERED_MS;
  }
}

function keyOf(message: Buffer): string {
  return message.toString('latin1');
}

function transmit(socket: Socket, message: Buffer, port: number, address: string): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.send(message, port, address, (error) => (error === null ? resolve() : reject(error)));
  });
}
