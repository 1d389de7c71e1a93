import { expect, test } from 'bun:test';
import * as fc from 'fast-check';
import { stringify } from 'yaml';
import { describeConfig } from '../../src/config/load.ts';
import { dottedNames } from '../../src/config/known-keys.ts';
import { load } from './config-file.ts';

const NAMES = [...new Set(dottedNames().flatMap((name) => name.split('.')))];

/** Values of every kind, among them those that settings have. */
const value = fc.letrec((tie) => ({
  any: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom(
      '',
      'yes',
      '0.1',
      ':5000',
      '5s',
      'inmemory',
      'unix',
      '__proto__',
      null,
      true,
      0,
      -1,
      1e300,
    ),
    fc.string(),
    fc.double(),
    fc.array(tie('any'), { maxLength: 3 }),
    fc.dictionary(fc.oneof(fc.constantFrom(...NAMES), fc.string({ maxLength: 5 })), tie('any'), {
      maxKeys: 5,
    }),
  ),
})).any;

/** `load` throws whatever is no ConfigError. */
async function check(yaml: string, env: Record<string, string>): Promise<void> {
  const { config, problems, warnings } = await load(yaml, env);
  for (const line of [...problems, ...warnings]) {
    expect(line).toMatch(/^(?:config\.yml: |config\.yml:\d+:\d+: |REGISTRY_)/);
  }
  if (config === undefined) return;
  expect(JSON.parse(JSON.stringify(config))).toEqual(config);
  // `-0` is the one number that the text form does not keep.
  const again = await load(describeConfig(config));
  expect(again.problems).toEqual([]);
}

test('any tree of settings loads or is a ConfigError', async () => {
  const tree = fc.dictionary(fc.constantFrom(...NAMES), value, { maxKeys: 8 });
  await fc.assert(
    fc.asyncProperty(tree, async (settings) => {
      await check(stringify({ version: 0.1, storage: 'inmemory', ...settings }), {});
    }),
    { numRuns: 150 },
  );
}, 300_000);

test('any text loads or is a ConfigError', async () => {
  const piece = fc.constantFrom(
    ': ',
    '\n',
    '  ',
    '- ',
    '[',
    ']',
    '{',
    '}',
    '&a ',
    '*a',
    '<<',
    '? ',
    '| ',
    '> ',
    '"',
    "'",
    '#',
    '!!set ',
    '!!omap ',

    '---\n',
    'version: 0.1\n',
    'storage:',
    'filesystem:',
    'http:',
    'addr:',
    '!!binary ',
    '\t',
    ',',
    '%YAML 1.1\n',
  );
  const text = fc.array(fc.oneof(piece, fc.string({ maxLength: 3 })), { maxLength: 30 });
  await fc.assert(
    fc.asyncProperty(text, async (pieces) => {
      await check(pieces.join(''), {});
      await check(`version: 0.1\nstorage: inmemory\n${pieces.join('')}`, {});
    }),
    { numRuns: 150 },
  );
}, 300_000);

test('any variables load or are a ConfigError', async () => {
  const name = fc
    .array(fc.oneof(fc.constantFrom(...NAMES, '0', '1', 'x-a'), fc.string({ maxLength: 4 })), {
      minLength: 1,
      maxLength: 5,
    })
    .map((parts) => `REGISTRY_${parts.join('_').toUpperCase()}`);
  const real = fc
    .constantFrom(...dottedNames())
    .map((dotted) => `REGISTRY_${dotted.replaceAll('.', '_').toUpperCase()}`);
  const text = fc.oneof(fc.string(), fc.constantFrom('yes', '5', '[a]', '{a: b}', '', ':5000', '1h'));
  await fc.assert(
    fc.asyncProperty(fc.dictionary(fc.oneof(name, real), text, { maxKeys: 6 }), async (env) => {
      await check('version: 0.1\nstorage: filesystem\nhttp: {headers: {a: [b]}}', env);
    }),
    { numRuns: 150 },
  );
}, 300_000);
