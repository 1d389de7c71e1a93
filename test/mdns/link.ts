/** Run in a network of its own: announces, asks as another machine would, and prints what it hears. One JSON line each. */
import { createSocket } from 'node:dgram';
import { decode, encode, type Answer } from 'dns-packet';
import { Announcer } from '../../src/mdns/announcer.ts';

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
  if (message.length < 12) return; // the one below that is no packet
  const { type, questions = [], answers = [], additionals = [] } = decode(message);
  if (type === 'response') heard.push(...answers, ...additionals);
  for (const { name } of questions) {
    if (!taken.has(name)) continue;
    send({ type: 'response', answers: [{ name, type: 'A', ttl: 120, data: '10.9.9.9' }] });
  }
});
const until = async (what: string, holds: () => boolean, again: () => void = () => undefined) => {
  for (const end = Date.now() + 5_000; !holds(); await new Promise((resolve) => setTimeout(resolve, 100)))
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

const second = announcer('taken');
await second.start();
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
