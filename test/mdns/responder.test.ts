/** What is answered to whom, and what is not, by the rules of RFC 6762; without a network. */
import { afterEach, describe, expect, test } from 'bun:test';
import { type Answer, decode, encode, type Packet } from 'dns-packet';
import * as fc from 'fast-check';
import type { Channel } from '../../src/mdns/links.ts';
import { type Asked, query, readMessage } from '../../src/mdns/message.ts';
import type { Source } from '../../src/mdns/multicast.ts';
import { type Announced, addressRecords, serviceRecords } from '../../src/mdns/records.ts';
import { Responder } from '../../src/mdns/responder.ts';

const ANNOUNCED: Announced = {
  name: 'registry',
  addresses: ['10.99.0.1', '10.99.0.9'],
  services: [{ type: '_docker-registry._tcp', port: 5000, txt: ['path=/v2/', 'version=1.0.0'] }],
};
const SERVICE = '_docker-registry._tcp.local';
const INSTANCE = `registry.${SERVICE}`;
const CHANNEL: Channel = {
  key: 'eth0 IPv4',
  family: 'IPv4',
  leaveBy: '10.99.0.1',
  zone: 'eth0',
  addresses: ANNOUNCED.addresses,
  isLocal: () => true,
};

interface Sent {
  readonly to: string;
  readonly packet: Packet;
  /** Milliseconds, by the clock that nobody sets. */
  readonly at: number;
}

/** A responder, and what it has sent. */
function responder() {
  const sent: Sent[] = [];
  const clock = { now: 100_000 };
  const note = (to: string, message: Buffer) => {
    sent.push({ to, packet: decode(message), at: performance.now() });
    return Promise.resolve(true);
  };
  const made = new Responder(
    {
      send: ({ key }, message) => note(`all of ${key}`, message),
      reply: ({ address, port }, message) => note(`${address}:${port}`, message),
    },
    () => ANNOUNCED,
    () => clock.now,
  );
  const from: Source = { channel: CHANNEL, address: '10.99.0.3', port: 5353 };
  const ask = (message: Buffer, source: Partial<Source> = {}) => {
    const read = readMessage(message);
    if (read !== undefined && !read.isResponse) made.query(read, { ...from, ...source });
  };
  const hear = (answers: Answer[]) => {
    const read = readMessage(encode({ type: 'response', answers }));
    if (read !== undefined) made.heard(read, from);
  };
  all.push(made);
  return { made, sent, ask, hear, clock };
}
const all: Responder[] = [];
afterEach(() => {
  for (const each of all.splice(0)) each.forget();
});

const asked = (name: string, type: string, unicast = false): Asked => ({ name, type, unicast });
const answersOf = ({ packet }: Sent) => (packet.answers ?? []).map(({ name, type }) => `${type} ${name}`);
/** Longer than any answer waits, but for those to a question of which more comes. */
const waited = (milliseconds = 200) => new Promise((resolve) => setTimeout(resolve, milliseconds));

describe('to everybody', () => {
  test('at once what only we can answer, with the bit that there is no other, and what else will be asked', () => {
    const { sent, ask } = responder();
    ask(query([asked('Registry.LOCAL', 'A')]));
    expect(sent).toHaveLength(1);
    expect(sent[0]?.to).toBe('all of eth0 IPv4');
    expect(sent[0]?.packet.answers).toEqual(
      ['10.99.0.1', '10.99.0.9'].map((data) =>
        expect.objectContaining({ name: 'registry.local', type: 'A', ttl: 120, flush: true, data }),
      ),
    );
    expect(sent[0]?.packet.questions).toEqual([]);
    // No IPv6: said so, as otherwise who asks waits for it.
    expect(sent[0]?.packet.additionals).toEqual([
      expect.objectContaining({ type: 'NSEC', name: 'registry.local', ttl: 120, flush: true }),
    ]);
  });

  test('what is not there is answered by what is', () => {
    const { sent, ask } = responder();
    ask(query([asked('registry.local', 'AAAA')]));
    ask(query([asked(INSTANCE, 'A')]));
    expect(sent.map(({ packet }) => packet.answers)).toEqual([
      [expect.objectContaining({ type: 'NSEC', data: { nextDomain: 'registry.local', rrtypes: ['A'] } })],
      [expect.objectContaining({ type: 'NSEC', data: { nextDomain: INSTANCE, rrtypes: ['TXT', 'SRV'] } })],
    ]);
  });

  test('after a while, once, what others may answer too, whoever asks', async () => {
    const { sent, ask } = responder();
    for (const source of ['10.99.0.3', '10.99.0.4', '10.99.0.5'])
      ask(query([asked(SERVICE, 'PTR')]), { address: source });
    ask(query([asked('_services._dns-sd._udp.local', 'PTR')]));
    expect(sent).toEqual([]);
    await waited();
    expect(sent.map(answersOf)).toEqual([[`PTR ${SERVICE}`, 'PTR _services._dns-sd._udp.local']]);
    const [{ packet } = { packet: {} as Packet }] = sent;
    expect((packet.additionals ?? []).map(({ type }) => type).sort()).toEqual([
      'A',
      'A',
      'NSEC',
      'SRV',
      'TXT',
    ]);
    expect(packet.answers?.every((answer) => 'flush' in answer && answer.flush === false)).toBe(true);
    expect(packet.answers?.[0]).toMatchObject({ ttl: 4500, data: INSTANCE });
  });

  test('a record once a second, but a name is defended after a quarter of that', () => {
    const { sent, ask, clock } = responder();
    const question = [asked('registry.local', 'ANY', true)];
    const claims = [{ name: 'registry.local', type: 'A', ttl: 120, data: '10.99.0.66' }] as const;
    ask(query([asked('registry.local', 'A')]));
    ask(query([asked('registry.local', 'A')]));
    ask(query(question, { claims }));
    expect(sent).toHaveLength(1);
    clock.now += 260;
    ask(query([asked('registry.local', 'A')]));
    expect(sent).toHaveLength(1);
    ask(query(question, { claims }));
    // To everybody, though who asks would be content to be told alone.
    expect(sent.map(({ to }) => to)).toEqual(['all of eth0 IPv4', 'all of eth0 IPv4']);
    clock.now += 1_000;
    ask(query([asked('registry.local', 'A')]));
    expect(sent).toHaveLength(3);
  });
});

describe('not what is known', () => {
  const pointer = serviceRecords(ANNOUNCED)[1] as Answer & { ttl: number };

  test.each([
    ['for more than half of its time yet', 2_300, []],
    ['for less than that', 2_200, [`PTR ${SERVICE}`]],
  ])('%s', async (_, ttl, expected) => {
    const { sent, ask } = responder();
    ask(query([asked(SERVICE, 'PTR')], { known: [{ ...pointer, ttl } as Answer] }));
    await waited();
    expect(sent.flatMap(answersOf)).toEqual(expected);
  });

  test('nor what is said to be known in a message that follows', async () => {
    const { sent, ask } = responder();
    const more = query([asked(SERVICE, 'PTR'), asked('registry.local', 'A')]);
    more.writeUInt16BE(1 << 9, 2); // TC
    const began = performance.now();
    ask(more);
    ask(query([], { known: [pointer, ...addressRecords(ANNOUNCED).slice(0, 1)] }), { address: '10.99.0.4' });
    ask(query([], { known: [pointer, ...addressRecords(ANNOUNCED).slice(0, 1)] }));
    await waited(600);
    // RFC 6762, section 7.2; less a millisecond, to which timers are exact.
    expect(sent[0]?.at).toBeGreaterThanOrEqual(began + 399);
    expect(sent[0]?.packet.answers).toEqual([expect.objectContaining({ data: '10.99.0.9' })]);
  });

  test('nor what somebody else has just said', async () => {
    const { sent, ask, hear } = responder();
    ask(query([asked('_services._dns-sd._udp.local', 'PTR')]));
    hear([{ name: '_services._dns-sd._udp.local', type: 'PTR', ttl: 4500, data: SERVICE }]);
    await waited();
    expect(sent).toEqual([]);
  });
});

describe('to one alone', () => {
  test('who asks for that, when all have heard it not long ago', async () => {
    const { made, sent, ask } = responder();
    const question = query([asked('registry.local', 'A', true)]);
    ask(question);
    ask(question);
    expect(sent.map(({ to }) => to)).toEqual(['all of eth0 IPv4', '10.99.0.3:5353']);
    made.forget();
    await made.announce(CHANNEL, serviceRecords(ANNOUNCED));
    ask(query([asked(SERVICE, 'PTR', true)]));
    expect(sent.map(({ to }) => to).slice(2)).toEqual(['all of eth0 IPv4', '10.99.0.3:5353']);
  });

  test('who knows nothing of multicast DNS, in the way of name servers', () => {
    const { sent, ask } = responder();
    ask(encode({ type: 'query', id: 4711, questions: [{ name: 'registry.local', type: 'A' }] }), {
      port: 40_000,
    });
    expect(sent).toHaveLength(1);
    const [{ to, packet } = { to: '', packet: {} as Packet }] = sent;
    expect([to, packet.id]).toEqual(['10.99.0.3:40000', 4711]);
    expect(packet.questions).toEqual([expect.objectContaining({ name: 'registry.local', type: 'A' })]);
    for (const record of [...(packet.answers ?? []), ...(packet.additionals ?? [])])
      expect(record).toMatchObject({ ttl: 10, flush: false });
  });

  test('as many times in a second as anybody needs', () => {
    const { sent, ask } = responder();
    const question = encode({ type: 'query', id: 1, questions: [{ name: 'registry.local', type: 'A' }] });
    for (let time = 0; time < 500; time += 1) ask(question, { port: 40_000 });
    expect(sent).toHaveLength(50);
  });
});

test.each([
  ['another name', query([asked('other.local', 'A')])],
  ['a reply', encode({ type: 'response', questions: [{ name: 'registry.local', type: 'A' }] })],
  [
    'another class',
    encode({ type: 'query', questions: [{ name: 'registry.local', type: 'A', class: 'CH' }] }),
  ],
  [
    'an operation that is no query',
    Buffer.concat([Buffer.from([0, 0, 0x28, 0]), query([asked('registry.local', 'A')]).subarray(4)]),
  ],
  [
    'a failure',
    Buffer.concat([Buffer.from([0, 0, 0, 3]), query([asked('registry.local', 'A')]).subarray(4)]),
  ],
])('no answer to %s', async (_, message) => {
  const { sent, ask } = responder();
  ask(message);
  await waited(0);
  expect(sent).toEqual([]);
});

test('whatever comes does no harm, and is not answered by much', () => {
  const { sent, ask, hear } = responder();
  const valid = query([asked('registry.local', 'ANY', true), asked(SERVICE, 'PTR')], {
    known: serviceRecords(ANNOUNCED),
    claims: addressRecords(ANNOUNCED),
  });
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { maxLength: 12 }),
      fc.nat(valid.length),
      fc.uint8Array({ maxLength: 64 }),
      fc.constantFrom(5353, 40_000),
      (changes, length, tail, port) => {
        const bytes = Buffer.concat([valid.subarray(0, length), tail]);
        for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
        ask(bytes, { port });
        const read = readMessage(bytes);
        hear([...(read?.answers ?? [])].filter(({ type }) => type === 'A'));
      },
    ),
    { numRuns: 3_000 },
  );
  // Most of them ask for something yet; but it is all within one second.
  expect(sent.length).toBeLessThan(60);
});
