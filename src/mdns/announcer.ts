/**
 * Tells the machines of a link under which name a service is to be found, without a name server: multicast DNS (RFC 6762)
 * with service discovery (RFC 6763), over IPv4 and IPv6.
 */
import type { Answer } from 'dns-packet';
import { givesWay, isTaken } from './claim.ts';
import { type Channel, currentChannels } from './links.ts';
import { canonicalAddress, type Message, query, readMessage, recordKey } from './message.ts';
import { Multicast, PORT, type Source } from './multicast.ts';
import {
  allRecords,
  type Announced,
  claims,
  hostOf,
  nextName,
  type Service,
  uniqueNames,
} from './records.ts';
import { Responder } from './responder.ts';

/** Milliseconds between probes (RFC 6762 §8.1), and of them there are three. */
const PROBE_EVERY = 250;
const PROBES = 3;
/** Milliseconds for which who gives way to another claim waits, to see whether it is meant (RFC 6762 §8.2). */
const GIVES_WAY_FOR = 1_000;
/** After so many conflicts there is one try in so many milliseconds (RFC 6762 §8.1). */
const MANY_CONFLICTS = 15;
const AFTER_MANY = 5_000;
const ANNOUNCE_AGAIN_AFTER = 1_000;
/** How often it is looked whether the machine has other addresses, in milliseconds. */
const LOOK_EVERY = 2_000;
/** The longest time after which a network is tried again that could not be told, in milliseconds. */
const TRY_AGAIN_EVERY = 60_000;
/** Who has not looked for so long has slept, and may have woken up on another network. */
const SLEPT = 15_000;

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

/** Channels on which the name is being asked for, and what came of it so far. */
interface Probe {
  readonly channels: ReadonlySet<string>;
  outcome: 'free' | 'taken' | 'contested';
  /** Ends the waiting. */
  heard: () => void;
}

export class Announcer {
  readonly #options: AnnouncerOptions;
  #name: string;
  /** The name that was told last. */
  #told: string | undefined;
  #multicast: Multicast | undefined;
  #responder: Responder | undefined;
  #channels = new Map<string, Channel>();
  /** Channels on which the name is ours. */
  readonly #settled = new Set<string>();
  #probe: Probe | undefined;
  /** Channels that could not be spoken on, and when that is tried again. */
  readonly #failures = new Map<string, { readonly times: number; readonly notBefore: number }>();
  #isSettling = false;
  #conflicts = 0;
  #isOver = false;
  #timer: NodeJS.Timeout | undefined;
  #lookedAt = Date.now();

  constructor(options: AnnouncerOptions) {
    this.#options = options;
    this.#name = options.name;
  }

  /** Settles on a name and announces it. Rejects only when the port cannot be had. */
  async start(): Promise<void> {
    const multicast = await Multicast.open({
      port: PORT,
      onMessage: (bytes, source) => this.#receive(bytes, source),
      onFailure: (error) => this.#options.onFailure(error),
    });
    this.#multicast = multicast;
    this.#responder = new Responder(multicast, (channel) => this.#announcedOn(channel));
    const channels = multicast.join(currentChannels(this.#options.interfaces));
    this.#channels = byKey(channels);
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY);
    this.#timer.unref();
    await this.#settle(channels);
  }

  /** Says goodbye, so that nobody looks for us any longer (RFC 6762 §10.1). */
  async stop(): Promise<void> {
    this.#isOver = true;
    clearInterval(this.#timer);
    this.#probe?.heard();
    await this.#sayGoodbye();
    await this.#multicast?.close();
    this.#multicast = undefined;
  }

  #announcedOn({ addresses }: Channel): Announced {
    return { name: this.#name, services: this.#options.services, addresses };
  }

  /** Asks whether anybody has the name, takes the next one if so, and announces it. One at a time. */
  async #settle(channels: readonly Channel[]): Promise<void> {
    if (this.#isSettling) return;
    this.#isSettling = true;
    try {
      void this.#announce(await this.#settleNow(channels));
    } finally {
      this.#isSettling = false;
    }
  }

  /** @returns the channels to announce on */
  async #settleNow(channels: readonly Channel[]): Promise<string[]> {
    let asked = channels;
    for (;;) {
      for (const { key } of asked) this.#settled.delete(key);
      const outcome = await this.#ask(asked);
      if (this.#isOver) return [];
      if (outcome === 'free') break;
      if (outcome === 'contested') {
        await pause(GIVES_WAY_FOR);
        continue;
      }
      await this.#sayGoodbye();
      this.#responder?.forget();
      this.#name = nextName(this.#name);
      this.#conflicts += 1;
      if (this.#conflicts >= MANY_CONFLICTS) await pause(AFTER_MANY);
      if (this.#isOver) return [];
      asked = [...this.#channels.values()];
    }
    const keys = asked.map(({ key }) => key);
    for (const key of keys) this.#settled.add(key);
    if (this.#told !== this.#name) {
      this.#told = this.#name;
      this.#options.onName(hostOf(this.#name));
    }
    return keys;
  }

  /** Three questions for the name, and what came back (RFC 6762 §8.1). */
  async #ask(channels: readonly Channel[]): Promise<Probe['outcome']> {
    const probe: Probe = {
      channels: new Set(channels.map(({ key }) => key)),
      outcome: 'free',
      heard: () => undefined,
    };
    this.#probe = probe;
    try {
      const heard = new Promise<void>((resolve) => {
        probe.heard = resolve;
      });
      // Machines that were switched on together do not ask together.
      await pause(Math.random() * PROBE_EVERY);
      for (let time = 0; time < PROBES && probe.outcome === 'free' && !this.#isOver; time += 1) {
        for (const key of probe.channels) {
          const channel = this.#channels.get(key);
          if (channel === undefined) continue;
          const announced = this.#announcedOn(channel);
          const questions = uniqueNames(announced).map((name) => ({ name, type: 'ANY', unicast: true }));
          void this.#multicast?.send(channel, query(questions, { claims: claims(announced) }));
        }
        await Promise.race([heard, pause(PROBE_EVERY)]);
      }
      return probe.outcome;
    } finally {
      this.#probe = undefined;
    }
  }

  async #announce(keys: readonly string[]): Promise<void> {
    for (let time = 0; time < 2; time += 1) {
      if (time > 0) await pause(ANNOUNCE_AGAIN_AFTER);
      for (const key of keys) {
        const channel = this.#channels.get(key);
        if (channel === undefined || this.#isOver || !this.#settled.has(key)) continue;
        const sent = await this.#responder?.announce(channel, allRecords(this.#announcedOn(channel)));
        if (sent === true) this.#failures.delete(key);
        else this.#fail(key);
      }
    }
  }

  /** An address that is not ready yet, or a cable that is not: it is begun again there, after ever longer times. */
  #fail(key: string): void {
    this.#settled.delete(key);
    const times = (this.#failures.get(key)?.times ?? 0) + 1;
    const after = Math.min(LOOK_EVERY * 2 ** (times - 1), TRY_AGAIN_EVERY);
    this.#failures.set(key, { times, notBefore: performance.now() + after - LOOK_EVERY / 2 });
  }

  /** Without the bit that nobody else has such a record: who took the name from us has. */
  async #sayGoodbye(
    of: (channel: Channel) => Answer[] = (channel) => allRecords(this.#announcedOn(channel)),
  ) {
    for (const key of this.#settled) {
      const channel = this.#channels.get(key);
      if (channel === undefined) continue;
      const answers = of(channel).map((answer) => ({ ...answer, ttl: 0, flush: false }) as Answer);
      if (answers.length > 0) await this.#responder?.announce(channel, answers);
    }
  }

  /** Follows the machine's networks: asks on those that are new, and tells of addresses that are (RFC 6762 §8.3, §8.4). */
  #look(): void {
    const slept = Date.now() - this.#lookedAt > SLEPT;
    this.#lookedAt = Date.now();
    if (this.#isSettling) return;
    const before = this.#channels;
    const channels = this.#multicast?.join(currentChannels(this.#options.interfaces)) ?? [];
    this.#channels = byKey(channels);
    for (const key of this.#settled) if (slept || !this.#channels.has(key)) this.#settled.delete(key);
    const changed = channels.filter(
      ({ key, addresses }) => before.get(key)?.addresses.join() !== addresses.join(),
    );
    void this.#follow(
      changed.filter(({ key }) => this.#settled.has(key)),
      before,
    );
    for (const { key } of changed) this.#failures.delete(key);
    const now = performance.now();
    const fresh = channels.filter(
      ({ key }) => !this.#settled.has(key) && now >= (this.#failures.get(key)?.notBefore ?? 0),
    );
    if (fresh.length > 0) void this.#settle(fresh);
  }

  async #follow(changed: readonly Channel[], before: ReadonlyMap<string, Channel>): Promise<void> {
    const keys = new Set(changed.map(({ key }) => key));
    // What remains is told with the bit that there is no other; a family of which nothing remains, only by a goodbye.
    await this.#sayGoodbye((channel) => {
      const old = before.get(channel.key);
      if (!keys.has(channel.key) || old === undefined) return [];
      const has = new Set(allRecords(this.#announcedOn(channel)).map(recordKey));
      return allRecords(this.#announcedOn(old)).filter((record) => !has.has(recordKey(record)));
    });
    await this.#announce([...keys]);
  }

  #receive(bytes: Buffer, source: Source): void {
    const message = readMessage(bytes);
    if (message === undefined || this.#isOver) return;
    if (message.isResponse) {
      // Nobody else's than a responder's own port is believed (RFC 6762 §6).
      if (source.port === PORT) this.#hear(message, source);
      return;
    }
    const { channel } = source;
    const probe = this.#probe;
    if (probe?.channels.has(channel.key) === true) this.#contest(probe, message, channel);
    if (this.#settled.has(channel.key)) this.#responder?.query(message, source);
  }

  #hear(message: Message, source: Source): void {
    const { channel } = source;
    this.#responder?.heard(message, source);
    const isOthers = isTaken(this.#announcedOn(channel), this.#ours(), [
      ...message.answers,
      ...message.additionals,
    ]);
    if (!isOthers) return;
    const probe = this.#probe;
    if (probe?.channels.has(channel.key) === true) {
      probe.outcome = 'taken';
      probe.heard();
      return;
    }
    // Both ask for it again, on all channels, and one of them gets it (RFC 6762 §9).
    if (this.#settled.has(channel.key)) void this.#settle([...this.#channels.values()]);
  }

  /** Somebody asks for the same name at the same time. */
  #contest(probe: Probe, { authorities }: Message, channel: Channel): void {
    const ours = this.#ours();
    const announced = this.#announcedOn(channel);
    const theirs = authorities.filter((record) => 'data' in record);
    // A router that sends on what we said on another link is nobody else.
    if (
      !isTaken(
        announced,
        ours,
        theirs.map((record) => ({ ...record, ttl: 1 })),
      )
    )
      return;
    if (!givesWay(announced, theirs)) return;
    probe.outcome = 'contested';
    probe.heard();
  }

  #ours(): ReadonlySet<string> {
    return new Set([...this.#channels.values()].flatMap(({ addresses }) => addresses.map(canonicalAddress)));
  }
}

function byKey(channels: readonly Channel[]): Map<string, Channel> {
  return new Map(channels.map((channel) => [channel.key, channel]));
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds).unref();
  });
}
