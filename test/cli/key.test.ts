import { afterAll, beforeAll, expect, test } from 'bun:test';
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { ApiKeys } from '../../src/auth/api-keys.ts';
import { TokenKeys } from '../../src/auth/token-keys.ts';
import type { CommandIo } from '../../src/cli/command-io.ts';
import { keyAdd, keyList, keyRevoke, keyRotate } from '../../src/cli/key.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';

let workspace: Workspace;
let file: string;
let state: string;
beforeAll(async () => {
  workspace = await createWorkspace('keys');
  file = workspace.join('config.yml');
  state = workspace.join('state');
  const lines = ['version: 0.1', 'storage: inmemory', `auth: {state: ${state}}`, 'access: {pull: users}'];
  await writeFile(file, lines.join('\n'));
});
afterAll(() => workspace.remove());

/** What a command prints. */
function printed() {
  const told = { out: '', err: '' };
  const io: CommandIo = {
    env: {},
    get input(): never {
      throw new Error('nothing is asked');
    },
    out: (text) => void (told.out += text),
    err: (text) => void (told.err += text),
  };
  return { io, told };
}

function logIn(token: string, now = Date.now()) {
  const accounts = {
    find: (name: string) => (name === 'ci' ? { name, groups: ['bots'], fingerprint: 'f' } : undefined),
  };
  return new ApiKeys(`${state}/keys`, accounts, () => now).authenticate({ kind: 'bearer', token });
}

test('a key is made, listed, used and revoked', async () => {
  const made = printed();
  const scope = ['team/*:pull,push', 'shared:pull'];
  expect(await keyAdd({ file, account: 'ci', name: 'pipeline', scope, expires: '1d' }, made.io)).toBe(0);
  const key = made.told.out.trim();
  const limits = [
    { name: 'team/*', actions: ['pull', 'push'] },
    { name: 'shared', actions: ['pull'] },
  ];
  expect(await logIn(key)).toMatchObject({ account: 'ci', groups: ['bots'], method: 'key', limits });
  expect(await logIn(key, Date.now() + 25 * 3_600_000)).toBe('refused');
  expect(await logIn(`${key.slice(0, -1)}${key.endsWith('A') ? 'B' : 'A'}`)).toBe('refused');
  expect(await logIn('some password')).toBeUndefined();
  // Neither the file nor the record has it.
  const [name = ''] = await readdir(`${state}/keys`);
  expect((await stat(`${state}/keys/${name}`)).mode & 0o777).toBe(0o600);
  expect(await readFile(`${state}/keys/${name}`, 'utf8')).not.toContain(key.slice(-30));
  expect(made.told.err).not.toContain(key.slice(-30));
  expect(made.told.err).toContain('event=key result=done account=ci');
  const listed = printed();
  await keyList({ file }, listed.io);
  const [id = ''] = listed.told.out.split('\t');
  expect(listed.told.out).toMatch(/^[0-9a-f]{12}\tci\tpipeline\t\S+\t\S+\tteam\/\*:pull,push shared:pull\n$/);
  expect(await keyRevoke({ file, id }, printed().io)).toBe(0);
  expect(await logIn(key)).toBe('refused');
  expect(await keyRevoke({ file, id }, printed().io)).toBe(1);
  expect(await keyRevoke({ file, id: '../../x' }, printed().io)).toBe(1);
});

test('a key of an account that is not there is refused', async () => {
  const made = printed();
  await keyAdd({ file, account: 'gone', name: 'x', expires: 'never' }, made.io);
  expect(await logIn(made.told.out.trim())).toBe('refused');
});

test('what cannot be understood makes no key', async () => {
  const before = await readdir(`${state}/keys`);
  const wrong = [
    { account: 'a:b', expires: '1d' },
    { account: 'ci', expires: 'soon' },
    { account: 'ci', expires: '0d' },
    { account: 'ci', expires: '1d', scope: ['team/*'] },
    { account: 'ci', expires: '1d', scope: ['team/*:pul'] },
    { account: 'ci', expires: '1d', scope: [':pull'] },
  ];
  for (const options of wrong) expect(await keyAdd({ file, name: 'x', ...options }, printed().io)).toBe(2);
  expect(await readdir(`${state}/keys`)).toEqual(before);
});

test('a new signing key leaves the old one to verify, and removes what was replaced long ago', async () => {
  const folder = `${state}/signing`;
  const old = new TokenKeys({ method: 'RS256', folder }).current.kid;
  expect(await keyRotate({ file }, printed().io)).toBe(0);
  const keys = new TokenKeys({ method: 'RS256', folder });
  expect(keys.current.kid).not.toBe(old);
  expect(keys.find(old)?.kid).toBe(old);
  // Two that are older by days: the second replaced the first.
  const [name = ''] = await readdir(folder);
  const text = await readFile(`${folder}/${name}`, 'utf8');
  await writeFile(`${folder}/000000000000001-a.json`, text);
  await writeFile(`${folder}/000000000000002-b.json`, text);
  const rotated = printed();
  await keyRotate({ file }, rotated.io);
  expect((await readdir(folder)).filter((each) => each.startsWith('0000000000000'))).toEqual([
    '000000000000002-b.json',
  ]);
  expect(rotated.told.err).toContain('Removed 000000000000001-a.json');
  await rm(folder, { recursive: true });
});
