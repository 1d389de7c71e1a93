/** Finds who offers a service on the networks of this machine (RFC 6763 §4), by asking and listening for a while. */
import type { Answer } from 'dns-packet';
import { type Channel, currentChannels } from './links.ts';
import { type Asked, type Message, query, readMessage, ttlOf } from './message.ts';
import { Multicast, PORT, type Source } from './multicast.ts';

/** How often it is looked whether something is left to ask, in milliseconds. */
const TURN = 250;
/** Turns until the whole question is asked again (RFC 6762 §5.2), and most times that one thing is asked. */
const AGAIN_AFTER = 4;
const MOST_TIMES = 4;
/** What one answer after the other could fill otherwise. */
const MOST_SERVICES = 256;
const MOST_ADDRESSES = 16;
const MOST_TXT = 32;

/** As it was told: nothing of it is to be believed, shown on a terminal as it is, or given to a shell. */
export interface FoundService {
  /** The instance's name alone, such as `registry`. */
  readonly name: string;
  /** Such as `registry.local`. */
  readonly host: string;
  readonly port: number;
  /** Addresses that are good on one link only have their zone behind a `%`. */
  readonly addresses: readonly string[];
  /** Its names are in lower case; of several the first counts (RFC 6763 §6.4). */
  readonly txt: ReadonlyMap<string, string>;
}

export interface BrowseOptions {
  /** Such as `_docker-registry._tcp`. */
  readonly type: string;
  readonly timeoutMs: number;
  /** Told of what goes wrong on a network; the others are asked nevertheless. */
  readonly onFailure: (error: Error) => void;
  /** As the announcer's; for tests. */
  readonly interfaces?: readonly string[];
}

/** @throws Error when no socket can be had */
export async function browse({
  type,
  timeoutMs,
  onFailure,
  interfaces,
}: BrowseOptions): Promise<FoundService[]> {
  const seen = new Seen(`${type}.local`);
  const options = {
    onFailure,
    onMessage(bytes: Buffer, source: Source) {
      const message = source.port === PORT ? readMessage(bytes) : undefined;
      if (message?.isResponse === true) seen.take(message, source.channel);
    },
  };
  // Where the port belongs to somebody alone, answers come to a port of one's own.
  const multicast = await Multicast.open({ ...options, port: PORT }).catch(() =>
    Multicast.open({ ...options, port: 0 }),
  );
  try {
    const channels = multicast.join(currentChannels(interfaces));
    const end = performance.now() + timeoutMs;
    for (let turn = 0; performance.now() < end; turn += 1) {
      const whole = turn % AGAIN_AFTER === 0;
      const questions = [
        ...(whole ? [{ name: `${type}.local`, type: 'PTR', unicast: false }] : []),
        ...seen.gaps(),
      ];
      if (questions.length > 0) {
        for (const channel of channels) {
          void multicast.send(channel, query(questions, whole ? { known: seen.known(channel) } : {}));
        }
      }
      await new Promise((resolve) =>
        setTimeout(resolve, Math.min(TURN, Math.max(0, end - performance.now()))),
      );
    }
  } finally {
    await multicast.close();
  }
  return seen.services();
}

/** What has been heard, within bounds. Names are kept in lower case, which is how they are compared. */
class Seen {
  readonly #type: string;
  /** By the instance's whole name: it as it was written, and by which channel it was told with what. */
  readonly #instances = new Map<string, { readonly name: string; readonly told: Map<string, Answer> }>();
  readonly #targets = new Map<string, { readonly host: string; readonly port: number }>();
  readonly #txt = new Map<string, ReadonlyMap<string, string>>();
  readonly #addresses = new Map<string, Set<string>>();
  readonly #asked = new Map<string, number>();

  constructor(type: string) {
    this.#type = type;
  }

  take({ answers, additionals }: Message, channel: Channel): void {
    const records = [...answers, ...additionals];
    // Pointers first, then services, then hosts: each counts only for something that was asked for.
    for (const record of records)
      if (record.type === 'PTR') this.#takePointer(record.name, record.data, record, channel);
    for (const record of records) {
      const instance = record.name.toLowerCase();
      if (!this.#instances.has(instance)) continue;
      if (record.type === 'SRV' && ttlOf(record) > 0) {
        this.#targets.set(instance, { host: record.data.target, port: record.data.port });
      } else if (record.type === 'TXT' && ttlOf(record) > 0) this.#txt.set(instance, pairs(record.data));
    }
    const hosts = new Set([...this.#targets.values()].map(({ host }) => host.toLowerCase()));
    for (const record of records) {
      if ((record.type !== 'A' && record.type !== 'AAAA') || !hosts.has(record.name.toLowerCase())) continue;
      const known = this.#addresses.get(record.name.toLowerCase()) ?? new Set();
      this.#addresses.set(record.name.toLowerCase(), known);
      const isOfLink = /^fe[89ab]/i.test(record.data);
      if (ttlOf(record) === 0) known.delete(record.data);
      else if (known.size < MOST_ADDRESSES)
        known.add(isOfLink ? `${record.data}%${channel.zone}` : record.data);
    }
  }

  #takePointer(name: string, instance: string, record: Answer, { key }: Channel): void {
    const whole = instance.toLowerCase();
    if (name.toLowerCase() !== this.#type || !whole.endsWith(`.${this.#type}`) || !isWritable(instance))
      return;
    const known = this.#instances.get(whole);
    if (ttlOf(record) === 0) this.#instances.delete(whole);
    else if (known !== undefined) known.told.set(key, record);
    else if (this.#instances.size < MOST_SERVICES) {
      this.#instances.set(whole, { name: instance, told: new Map([[key, record]]) });
    }
  }

  /** What is still to be asked. */
  gaps(): Asked[] {
    const missing: { name: string; type: string }[] = [];
    for (const [instance, { name }] of this.#instances) {
      const target = this.#targets.get(instance);
      if (target === undefined) missing.push({ name, type: 'SRV' });
      if (!this.#txt.has(instance)) missing.push({ name, type: 'TXT' });
      if (target === undefined || !isWritable(target.host)) continue;
      if ((this.#addresses.get(target.host.toLowerCase())?.size ?? 0) > 0) continue;
      missing.push({ name: target.host, type: 'A' }, { name: target.host, type: 'AAAA' });
    }
    return missing
      .filter(({ name, type }) => {
        const key = `${type} ${name}`;
        const times = (this.#asked.get(key) ?? 0) + 1;
        this.#asked.set(key, times);
        return times <= MOST_TIMES;
      })
      .slice(0, MOST_TXT)
      .map((question) => ({ ...question, unicast: false }));
  }

  /** What need not be told again on a channel. */
  known({ key }: Channel): Answer[] {
    return [...this.#instances.values()].flatMap(({ told }) => told.get(key) ?? []);
  }

  services(): FoundService[] {
    return [...this.#instances].flatMap(([instance, { name }]) => {
      const target = this.#targets.get(instance);
      if (target === undefined) return [];
      const addresses = [...(this.#addresses.get(target.host.toLowerCase()) ?? [])].sort();
      const txt = this.#txt.get(instance) ?? new Map<string, string>();
      return [{ name: name.slice(0, -this.#type.length - 1), ...target, addresses, txt }];
    });
  }
}

/** Whether a name that was read can be asked for: one of bytes that were no text is another one when it is written. */
function isWritable(name: string): boolean {
  return (
    Buffer.byteLength(name) < 254 &&
    name.split('.').every((label) => label !== '' && Buffer.byteLength(label) < 64)
  );
}

function pairs(data: string | Buffer | readonly (string | Buffer)[]): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  const list = typeof data === 'string' || Buffer.isBuffer(data) ? [data] : data;
  for (const one of list.slice(0, MOST_TXT)) {
    const [, key = '', value = ''] = /^([^=]+)(?:=(.*))?$/s.exec(one.toString()) ?? [];
    if (key !== '' && !found.has(key.toLowerCase())) found.set(key.toLowerCase(), value);
  }
  return found;
}
