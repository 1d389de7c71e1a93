/** Who has the name when two want it (RFC 6762 §8.2, §9). */
import { expect, test } from 'bun:test';
import type { Answer } from 'dns-packet';
import { givesWay, isTaken } from '../../src/mdns/claim.ts';
import { type Announced, claims } from '../../src/mdns/records.ts';

const services = [{ type: '_docker-registry._tcp', port: 5000, txt: ['path=/v2/'] }];
const host = (...addresses: readonly string[]): Announced => ({ name: 'registry', addresses, services });
const address = (data: string, ttl = 120): Answer => ({
  name: 'Registry.local',
  type: data.includes(':') ? 'AAAA' : 'A',
  ttl,
  data,
});
const service = (port: number, target = 'registry.local'): Answer => ({
  name: 'registry._docker-registry._tcp.local',
  type: 'SRV',
  ttl: 120,
  data: { port, target, priority: 0, weight: 0 },
});

test.each([
  // The example of §8.2.1.
  ['the earlier address', ['169.254.99.200'], ['169.254.200.50'], true],
  ['the later address', ['169.254.200.50'], ['169.254.99.200'], false],
  ['the same', ['10.0.0.1'], ['10.0.0.1'], false],
  ['fewer', ['10.0.0.1'], ['10.0.0.1', '10.0.0.2'], true],
  ['more', ['10.0.0.1', '10.0.0.2'], ['10.0.0.1'], false],
  ['the earlier type', ['10.0.0.1'], ['fd00::1'], true],
  ['the order they are told in does not count', ['10.0.0.2', '10.0.0.1'], ['10.0.0.1', '10.0.0.2'], false],
])('who has %s gives way or not', (_, ours, theirs, expected) => {
  expect(givesWay(host(...ours), claims(host(...theirs)))).toBe(expected);
});

test('of two on one machine, the port decides; and never both give way', () => {
  const other = {
    ...host('10.0.0.1'),
    services: [{ ...(services[0] ?? { type: '', txt: [] }), port: 5001 }],
  };
  expect(givesWay(host('10.0.0.1'), claims(other))).toBe(true);
  expect(givesWay(other, claims(host('10.0.0.1')))).toBe(false);
  // The later address beside the earlier port.
  const later = host('10.0.0.2');
  expect([givesWay(later, claims(other)), givesWay(other, claims(later))]).toEqual([false, true]);
});

test.each([
  ['another address', [address('10.0.0.9')], true],
  ['another kind of address', [address('fd00::9')], true],
  [
    'our own, also of another link',
    [address('10.0.0.1'), address('FD00:0:0::1'), address('172.17.0.1')],
    false,
  ],
  ['a goodbye', [address('10.0.0.9', 0)], false],
  ['another port', [service(5001)], true],
  ['another host', [service(5000, 'other.local')], true],
  ['the same service', [service(5000, 'REGISTRY.local')], false],
  ['another name', [{ ...address('10.0.0.9'), name: 'registry-2.local' }], false],
])('%s', (_, answers, expected) => {
  const ours = new Set(['10.0.0.1', 'fd00::1', '172.17.0.1']);
  expect(isTaken(host('10.0.0.1', 'fd00::1'), ours, answers)).toBe(expected);
});
