/**
 * Tells the machines of a link under which name a service is to be found, without a name server: multicast DNS (RFC 6762)
 * with service discovery (RFC 6763).
 */
import { createSocket, type Socket } from 'node:dgram';
import { networkInterfaces } from 'node:os';
import { decode, encode, type Answer, type DecodedPacket, type Packet } from 'dns-packet';
import {
  additionalTo,
  addressRecords,
  type Announced,
  answersTo,
  hostOf,
  nextName,
  type Service,
  serviceRecords,
} from './records.ts';

const PORT = 5353;
const GROUP = '224.0.0.251';
/** Milliseconds between probes (RFC 6762 §8.1), and of them there are three. */
const PROBE_EVERY = 250;
const PROBES = 3;
const ANNOUNCE_AGAIN_AFTER = 1_000;
/** How often it is looked whether the machine has other addresses, in milliseconds. */
const LOOK_EVERY = 5_000;

export interface AnnouncerOptions {
  /** Without `.local`; another one is taken when somebody has it. */
  readonly name: string;
  readonly services: readonly Service[];
  /** Told of the name that was settled on, also when it changes. */
  readonly onName: (host: string) => void;
  /** Told of what goes wrong on the network; nothing of it ends anything. */
  readonly onFailure: (error: Error) => void;
  /** Addresses of interfaces to speak on, in place of all that are not of this machine alone; for tests. */
  readonly interfaces?: readonly string[];
}

export class Announcer {
  readonly #options: AnnouncerOptions;
  #announced: Announced;
  #socket: Socket | undefined;
  #joined: readonly string[] = [];
  #state: 'probing' | 'settled' | 'over' = 'probing';
  #conflict = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: AnnouncerOptions) {
    this.#options = options;
    const { name, services } = options;
    this.#announced = { name, services, addresses: [] };
  }

  /** Settles on a name and announces it. Rejects only when the port cannot be had. */
  async start(): Promise<void> {
    const socket = createSocket({ type: 'udp4', reuseAddr: true });
    this.#socket = socket;
    socket.on('message', (message) => this.#receive(message));
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.bind({ port: PORT, address: '0.0.0.0' }, () => {
        socket.off('error', reject);
        resolve();
      });
    });
    socket.on('error', (error) => this.#options.onFailure(error));
    socket.setMulticastTTL(255);
    socket.setMulticastLoopback(true);
    socket.unref();
    this.#join();
    await this.#settle();
    this.#timer = setInterval(() => void this.#look(), LOOK_EVERY);
    this.#timer.unref();
  }

  /** Says goodbye, so that nobody looks for us any longer (RFC 6762 §10.1). */
  async stop(): Promise<void> {
    const wasSettled = this.#state === 'settled';
    this.#state = 'over';
    clearInterval(this.#timer);
    const socket = this.#socket;
    if (socket === undefined) return;
    if (wasSettled) {
      const answers = this.#all().map((answer) => ({ ...answer, ttl: 0 }) as Answer);
      await this.#send({ type: 'response', flags: AUTHORITATIVE, answers });
    }
    this.#socket = undefined;
    await new Promise<void>((resolve) => socket.close(() => resolve()));
  }

  #all(): Answer[] {
    return [...addressRecords(this.#announced), ...serviceRecords(this.#announced)];
  }

  /** Asks whether anybody has the name, takes the next one if so, and announces it. */
  async #settle(): Promise<void> {
    this.#state = 'probing';
    for (;;) {
      this.#conflict = false;
      for (let probe = 0; probe < PROBES && !this.#conflict; probe += 1) {
        const name = hostOf(this.#announced.name);
        const authorities = addressRecords(this.#announced).map(
          (record) => ({ ...record, flush: false }) as Answer,
        );
        await this.#send({ type: 'query', questions: [{ name, type: ANY }], authorities });
        await pause(PROBE_EVERY);
        if (this.#isOver()) return;
      }
      if (!this.#conflict) break;
      this.#announced = { ...this.#announced, name: nextName(this.#announced.name) };
    }
    this.#state = 'settled';
    this.#options.onName(hostOf(this.#announced.name));
    await this.#announce();
  }

  #isOver(): boolean {
    return this.#state === 'over';
  }

  async #announce(): Promise<void> {
    for (let time = 0; time < 2 && !this.#isOver(); time += 1) {
      if (time > 0) await pause(ANNOUNCE_AGAIN_AFTER);
      await this.#send({ type: 'response', flags: AUTHORITATIVE, answers: this.#all() });
    }
  }

  /** Joins the group on every interface, and notes the addresses. @returns whether anything has changed */
  #join(): boolean {
    const { interfaces } = this.#options;
    const present = Object.values(networkInterfaces())
      .flatMap((list) => list ?? [])
      .filter(({ address, internal }) => interfaces?.includes(address) ?? !internal);
    const v4 = present.filter(({ family }) => family === 'IPv4').map(({ address }) => address);
    const addresses = present
      .map(({ address }) => address)
      .filter((address) => !/^fe[89ab]/i.test(address))
      .sort();
    const changed = addresses.join() !== this.#announced.addresses.join();
    this.#announced = { ...this.#announced, addresses };
    for (const address of v4) {
      if (this.#joined.includes(address)) continue;
      try {
        this.#socket?.addMembership(GROUP, address);
      } catch (error) {
        // One that was joined before it was renamed.
        if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') this.#options.onFailure(error as Error);
      }
    }
    this.#joined = v4;
    return changed;
  }

  async #look(): Promise<void> {
    if (this.#state === 'settled' && this.#join()) await this.#announce();
  }

  #receive(message: Buffer): void {
    let packet: DecodedPacket;
    try {
      packet = decode(message);
    } catch {
      return; // what cannot be read is for nobody
    }
    if (packet.type === 'response') this.#hear(packet);
    else if (this.#state === 'settled') void this.#answer(packet);
  }

  /** Another one that says that the name is its own. What comes back of our own is no such thing. */
  #hear({ answers = [] }: DecodedPacket): void {
    const name = hostOf(this.#announced.name).toLowerCase();
    const ours = new Set(this.#announced.addresses);
    const isOthers = answers.some(
      (answer) =>
        (answer.type === 'A' || answer.type === 'AAAA') &&
        answer.name.toLowerCase() === name &&
        (answer.ttl ?? 0) > 0 &&
        !ours.has(answer.data),
    );
    if (!isOthers) return;
    if (this.#state === 'probing') this.#conflict = true;
    else if (this.#state === 'settled') {
      this.#announced = { ...this.#announced, name: nextName(this.#announced.name) };
      void this.#settle();
    }
  }

  async #answer({ questions = [] }: DecodedPacket): Promise<void> {
    const answers = answersTo(this.#announced, questions);
    if (answers.length === 0) return;
    const additionals = additionalTo(this.#announced, answers);
    await this.#send({ type: 'response', flags: AUTHORITATIVE, answers, additionals });
  }

  /** On every interface. A network that does not take it is none that anybody looks for us on. */
  async #send(packet: Packet): Promise<void> {
    const socket = this.#socket;
    if (socket === undefined) return;
    const message = encode({ id: 0, ...packet });
    for (const address of this.#joined) {
      if (this.#socket === undefined) return; // the end has come meanwhile
      await new Promise<void>((resolve) => {
        try {
          socket.setMulticastInterface(address);
          socket.send(message, PORT, GROUP, (error) => {
            if (error !== null) this.#options.onFailure(error);
            resolve();
          });
        } catch (error) {
          this.#options.onFailure(error as Error);
          resolve();
        }
      });
    }
  }
}

/** A question for all records of a name; dns-packet's types leave it out. */
const ANY = 'ANY' as 'A';

/** dns-packet's bit of "this is who knows". */
const AUTHORITATIVE = 1 << 10;

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
