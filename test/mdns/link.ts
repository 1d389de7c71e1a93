/** Run in a network of its own: announces, asks as another machine would, and prints what it hears. One JSON line each. */
import { createSocket } from 'node:dgram';
import { type Answer, encode } from 'dns-packet';
import { Announcer } from '../../src/mdns/announcer.ts';
import { browse } from '../../src/mdns/browser.ts';
import { readMessage } from '../../src/mdns/message.ts';

const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`);
const heard: Answer[] = [];
/** Names that somebody else on the link has. */
const taken = new Set(['taken.local']);

const other = createSocket({ type: 'udp4', reuseAddr: true });
await new Promise<void>((resolve) => other.bind({ port: 5353, address: '0.0.0.0' }, resolve));
other.addMembership('224.0.0.251', '127.0.0.1');
other.setMulticastInterface('127.0.0.1');
const send = (packet: Parameters<typeof encode>[0]) =>
  other.send(encode({ id: 0, ...packet }), 5353, '224.0.0.251');
other.on('message', (message) => {
  const read = readMessage(message);
  if (read === undefined) return; // ours below, of which some are no packets
  const { isResponse, questions, answers, additionals } = read;
  if (isResponse) heard.push(...answers, ...additionals);
  for (const { name } of questions) {
    if (!taken.has(name)) continue;
    send({ type: 'response', answers: [{ name, type: 'A', ttl: 120, data: '10.9.9.9' }] });
  }
});
const until = async (what: string, holds: () => boolean, again: () => void = () => undefined) => {
  for (const end = Date.now() + 120_000; !holds(); await new Promise((resolve) => setTimeout(resolve, 100)))
    if (Date.now() < end) again();
    else throw new Error(`waited in vain for ${what}: ${JSON.stringify(heard)}`);
};

const services = [{ type: '_docker-registry._tcp', port: 5000, txt: ['path=/v2/'] }];
const names: string[] = [];
const announcer = (name: string) =>
  new Announcer({
    name,
    services,
    interfaces: ['127.0.0.1'],
    onName: (host) => void names.push(host),
    onFailure: (error) => say({ failure: error.message }),
  });

const registry = announcer('registry');
await registry.start();
say({ names: [...names] });
// It is announced twice.
await until('the second one', () => heard.filter(({ type }) => type === 'SRV').length === 2);
heard.length = 0;
// Asked again, as nothing is said twice in a second (RFC 6762 §6).
const ask = (name: string, type: 'A' | 'PTR') => () => send({ type: 'query', questions: [{ name, type }] });
await until(
  'an address',
  () => heard.some(({ name, type }) => name === 'registry.local' && type === 'A'),
  ask('registry.local', 'A'),
);
say({ address: heard.find(({ type }) => type === 'A') });
heard.length = 0;
await until(
  'a service with all that belongs to it',
  () => heard.some(({ type }) => type === 'TXT'),
  ask('_docker-registry._tcp.local', 'PTR'),
);
say({ service: [...new Set(heard.map(({ name, type }) => `${type} ${name}`))].sort() });
send({ type: 'query', questions: [{ name: 'nobody.local', type: 'A' }] });
other.send(Buffer.from('no packet'), 5353, '224.0.0.251');

// Who looks for registries meets one, and somebody who answers everything by far too much, and by what cannot be read.
heard.length = 0;
const noise = setInterval(() => {
  const first = 'registry._docker-registry._tcp.local';
  if (!heard.some((answer) => answer.type === 'PTR' && answer.data === first)) return;
  // A name that leads to itself, and another that ends in the middle.
  const loop = encode({
    type: 'response',
    answers: [{ name: 'loop.local', type: 'PTR', ttl: 9, data: 'x.local' }],
  });
  for (const end of [13, 20, loop.length - 2]) {
    const bytes = Buffer.from(loop);
    bytes.writeUInt16BE(0xc0_00 | end, end);
    other.send(bytes, 5353, '224.0.0.251');
    other.send(loop.subarray(0, end), 5353, '224.0.0.251');
  }
  const name = '_docker-registry._tcp.local';
  for (let packet = 0; packet < 20; packet += 1) {
    const instance = (index: number) => `n${packet}-${index}.${name}`;
    const indexes = Array.from({ length: 30 }, (_, index) => index);
    send({
      type: 'response',
      answers: indexes.map((index) => ({ name, type: 'PTR' as const, ttl: 4500, data: instance(index) })),
      additionals: indexes.flatMap((index): Answer[] => [
        { name: instance(index), type: 'SRV', ttl: 120, data: { port: 1, target: 'noise.local' } },
        { name: 'noise.local', type: 'A', ttl: 120, data: `10.8.${packet}.${index}` },
      ]),
    });
  }
}, 100);
// Meanwhile another one finds that somebody has its name.
const second = announcer('taken');
const started = second.start();
const found = await browse({
  type: '_docker-registry._tcp',
  timeoutMs: 2_000,
  interfaces: ['127.0.0.1'],
  onFailure: (error) => say({ failure: error.message }),
});
clearInterval(noise);
say({
  found: found
    .filter(({ name }) => name === 'registry')
    .map(({ txt, ...rest }) => ({ ...rest, txt: Object.fromEntries(txt) })),
  isBounded: found.length <= 256 && found.every(({ addresses }) => addresses.length <= 16),
  noise: found.length > 1,
});

await started;
say({ second: names.at(-1) });
// Somebody comes and claims the first one's name, and means it.
taken.add('registry.local');
send({ type: 'response', answers: [{ name: 'registry.local', type: 'A', ttl: 120, data: '10.9.9.9' }] });
await until('another name', () => names.includes('registry-2.local'));
heard.length = 0;
await registry.stop();
await until('a goodbye', () =>
  heard.some((answer) => answer.name === 'registry-2.local' && 'ttl' in answer && answer.ttl === 0),
);
say({ goodbye: true });
await second.stop();
other.close();
