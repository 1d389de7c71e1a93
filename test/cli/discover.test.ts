/** `entrepot discover`: what it shows of what anybody on the network may have written. */
import { expect, test } from 'bun:test';
import { discover, type DiscoverOptions } from '../../src/cli/discover.ts';
import type { FoundService } from '../../src/mdns/browser.ts';
import { captured } from './captured-io.ts';

const registry = (changed: Partial<FoundService> = {}): FoundService => ({
  name: 'registry',
  host: 'registry.local',
  port: 5000,
  addresses: ['10.0.0.1', 'fe80::1%eth0'],
  txt: new Map([
    ['path', '/v2/'],
    ['version', '1.2.3'],
    ['tls', 'yes'],
  ]),
  ...changed,
});
const run = (found: readonly FoundService[], options: DiscoverOptions = {}) =>
  captured((io) => discover({ found, ...options }, io));

test('a table, and the command to run next', async () => {
  const plainHttp = registry({ name: 'b', host: 'b.local', addresses: [], txt: new Map([['tls', 'no']]) });
  const other = registry({ name: 'a', host: 'a.local', txt: new Map() });
  expect(await run([registry(), plainHttp, other])).toEqual({
    code: 0,
    err: '',
    out: [
      'NAME      REGISTRY             TLS  VERSION  ADDRESSES',
      'a         a.local:5000         ?    ?        10.0.0.1 fe80::1%eth0',
      'b         b.local:5000         no   ?        ?',
      'registry  registry.local:5000  yes  1.2.3    10.0.0.1 fe80::1%eth0',
      '',
      'sudo npx entrepot trust a.local:5000 && docker login a.local:5000',
      'docker login b.local:5000        # without TLS: first name it in "insecure-registries" of /etc/docker/daemon.json',
      'sudo npx entrepot trust registry.local:5000 && docker login registry.local:5000',
      '',
    ].join('\n'),
  });
});

test('none: what may be the reason, and exit code 1', async () => {
  const { code, out, err } = await run([]);
  expect([code, out, err]).toEqual([1, '', expect.stringContaining('No registry announces itself here.')]);
  expect(await run([], { json: true })).toEqual({ code: 1, out: '[]\n', err });
});

test.each(['0', '-1', 'x', '61', '', 'Infinity'])('--timeout %p is refused', async (timeout) => {
  expect((await run([registry()], { timeout })).code).toBe(2);
});

test('what a terminal or a shell would act on is taken out', async () => {
  const hostile = '\u001b[2J\u0007\u009b31m\r\n\u202Eevil\u200B';
  const { out } = await run([
    registry({ name: hostile, txt: new Map([['version', hostile.repeat(1_000)]]), addresses: [hostile] }),
    registry({ host: 'x;$(reboot).local' }),
    registry({ host: '-option.local' }),
    registry({ host: hostile }),
  ]);
  // eslint-disable-next-line no-control-regex
  expect(out.replaceAll('\n', '')).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e]/);
  expect(out).toContain('??evil?');
  expect(out.split('\n').every((line) => line.length < 400)).toBe(true);
  const commands = out.split('\n').filter((line) => /^sudo|^docker/.test(line));
  expect(commands).toEqual([
    'sudo npx entrepot trust registry.local:5000 && docker login registry.local:5000',
  ]);
  expect(out).toContain('x;$(reboot).local:5000 has no name that can be used');
  const { out: json } = await run([registry({ name: hostile })], { json: true });
  expect(JSON.parse(json)).toMatchObject([{ name: '?[2J??31m???evil?' }]);
});
