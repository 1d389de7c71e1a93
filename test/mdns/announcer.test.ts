import { expect, test } from 'bun:test';
import { join } from 'node:path';
import { nextName } from '../../src/mdns/records.ts';
import { run } from '../harness/tools.ts';

test('a registry is found by its name and as a service, gives way to others, and says goodbye', async () => {
  // In a network of its own, where there is nobody else.
  const script = `ip link set lo up && exec "$0" "$1"`;
  const { stdout } = await run('unshare', [
    ...(process.getuid?.() === 0 ? [] : ['--map-root-user']),
    '--net',
    'sh',
    '-c',
    script,
    process.execPath,
    join(import.meta.dirname, 'link.ts'),
  ]);
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown);
  expect(lines).toEqual([
    { names: ['registry.local'] },
    {
      address: expect.objectContaining({
        name: 'registry.local',
        type: 'A',
        ttl: 120,
        data: '127.0.0.1',
        flush: true,
      }),
    },
    {
      service: [
        'A registry.local',
        'NSEC registry.local',
        'PTR _docker-registry._tcp.local',
        'SRV registry._docker-registry._tcp.local',
        'TXT registry._docker-registry._tcp.local',
      ],
    },
    {
      found: [
        {
          name: 'registry',
          host: 'registry.local',
          port: 5000,
          addresses: ['127.0.0.1'],
          txt: { path: '/v2/' },
        },
      ],
      isBounded: true,
      noise: true,
    },
    { second: 'taken-2.local' },
    { goodbye: true },
  ]);
}, 300_000);

test('names after a conflict', () => {
  expect(['registry', 'registry-2', 'my-registry', 'r-9'].map(nextName)).toEqual([
    'registry-2',
    'registry-3',
    'my-registry-2',
    'r-10',
  ]);
});
