import { readFile } from 'node:fs/promises';
import { expect, test } from 'bun:test';
import { dottedNames } from '../../src/config/known-keys.ts';
import { UNSUPPORTED } from '../../src/config/unsupported.ts';
import { loaded } from './config-file.ts';

const page = await readFile(new URL('../../docs/configuration.md', import.meta.url), 'utf8');

/** The settings that stand in the first column of the table. */
const documented = new Set(
  [...page.matchAll(/^\| (`[^|]+`) \| /gm)].flatMap(([, cell]) =>
    [...(cell ?? '').matchAll(/`([a-z0-9._]+)`/g)].map(([, name]) => name ?? ''),
  ),
);

test('every setting is documented, and no other', () => {
  const names = dottedNames();
  const leaves = names.filter((name) => !names.some((other) => other.startsWith(`${name}.`)));
  expect([...documented].sort()).toEqual([...leaves].sort());
});

test('what refuses to start and what warns is documented as such', () => {
  const rows = page.split('\n').filter((line) => line.startsWith('| `'));
  for (const [name, { effect }] of Object.entries(UNSUPPORTED)) {
    const row = rows.find((line) => line.split('|')[1]?.includes(`\`${name}\``)) ?? '';
    const word = { refuse: '**refuses to start**', warn: 'not yet: warning', accept: 'accepted;' }[effect];
    expect({ name, row }).toEqual({ name, row: expect.stringContaining(word) });
  }
});

test('the example loads', async () => {
  const example = /```yaml\n(.*?)```/s.exec(page)?.[1] ?? '';
  expect(await loaded(example)).toMatchObject({ http: { tls: { key: '/etc/entrepot/registry.key' } } });
});
