import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { readFile, writeFile } from 'node:fs/promises';
import { aclTest, type AclTestOptions } from '../../src/cli/acl-test.ts';
import { captured } from './captured-io.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';

const HASH = `$2y$10$${'a'.repeat(53)}`;

let workspace: Workspace;
let number = 0;
beforeAll(async () => {
  workspace = await createWorkspace('acl');
});
afterAll(() => workspace.remove());

async function configured(...lines: readonly string[]): Promise<string> {
  number += 1;
  const file = workspace.join(`${number}.yml`);
  const storage = 'storage: {inmemory: , delete: {enabled: true}}';
  const all = ['version: 0.1', lines.some((line) => line.startsWith('storage:')) ? '' : storage, ...lines];
  await writeFile(file, `${all.join('\n').replaceAll('DIR', workspace.path)}\n`);
  return file;
}

/** The exit code and what is printed, with the file called `FILE`. */
async function ask(
  file: string,
  options: Partial<AclTestOptions>,
): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  const { code, out, err } = await captured((io) =>
    aclTest({ file, repo: 'team/app', action: 'pull', ...options }, io),
  );
  const told = (text: string) => text.replaceAll(file, 'FILE').replaceAll(workspace.path, 'DIR');
  return { code, out: told(out), err: told(err) };
}

describe('rules of our own', () => {
  const lines = [
    'users:',
    `  alice: {password: "${HASH}", groups: [dev]}`,
    `  bob: "${HASH}"`,
    'groups: {ops: [alice]}',
    'acl:',
    '  - {group: dev, name: "team/*", actions: [pull, push]}',
    '  - {account: "*", name: secret/*, actions: "*", deny: true}',
    '  - {anonymous: true, name: public/*, actions: pull, ip: 10.0.0.0/8}',
    '  - {account: "*", name: "home/${account}/*", actions: "*"}',
    'access: {delete: bob}',
  ];
  const cases: readonly (readonly [Partial<AclTestOptions>, number, string])[] = [
    [
      { account: 'alice', action: 'push', ip: '192.0.2.1' },
      0,
      'push to team/app by alice (groups: dev, ops) from 192.0.2.1: allowed by FILE:8 (group dev, name team/*, actions pull, push)\n',
    ],
    [{ account: 'bob', ip: '::1' }, 1, 'pull from team/app by bob from ::1: refused: no rule allows it\n'],
    [
      { account: 'bob', group: ['dev'], ip: '::1' },
      0,
      'pull from team/app by bob (groups: dev) from ::1: allowed by FILE:8 (group dev, name team/*, actions pull, push)\n',
    ],
    [
      { account: 'bob', repo: 'secret/x', action: 'delete', ip: '::1' },
      1,
      'delete in secret/x by bob from ::1: refused by FILE:9 (account *, name secret/*, actions *, deny)\n',
    ],
    [
      { account: '', repo: 'public/x', ip: '10.1.1.1' },
      0,
      'pull from public/x by anonymous from 10.1.1.1: allowed by FILE:10 (anonymous, name public/*, actions pull, ip 10.0.0.0/8)\n',
    ],
    [
      { repo: 'public/x', ip: '11.1.1.1' },
      1,
      'pull from public/x by anonymous from 11.1.1.1: refused: no rule allows it\n',
    ],
    [
      { account: 'bob', repo: 'home/bob/x', action: 'push', ip: '::1' },
      0,
      'push to home/bob/x by bob from ::1: allowed by FILE:11 (account *, name home/${account}/*, actions *)\n',
    ],
    [
      { account: 'bob', repo: 'x', action: 'delete', ip: '::1' },
      0,
      'delete in x by bob from ::1: allowed by FILE:12 (account bob, name *, actions delete)\n',
    ],
  ];
  test.each(cases)('%j', async (options, code, out) => {
    expect(await ask(await configured(...lines), options)).toEqual({ code, out, err: '' });
  });

  test('without an address those about addresses are passed over, and that is told', async () => {
    const { code, out, err } = await ask(await configured(...lines), { repo: 'public/x' });
    expect(code).toBe(1);
    expect(out).toBe('pull from public/x by anonymous: refused: no rule allows it\n');
    expect(err).toBe('warning: without --ip the rules about addresses are passed over\n');
  });

  test('an account that is not kept here is told, and is in the groups that name it', async () => {
    const file = await configured('groups: {ops: [eve]}', 'acl: [{group: ops, actions: "*"}]');
    const { code, out, err } = await ask(file, { account: 'eve' });
    expect(code).toBe(0);
    expect(out).toBe(
      'pull from team/app by eve (groups: ops): allowed by FILE:4 (group ops, name *, actions *)\n',
    );
    expect(err).toBe('warning: there is no account eve; the rules are asked as if there were\n');
  });

  test('without a word about rights every account may do everything', async () => {
    const file = await configured(`users: {bob: "${HASH}"}`);
    expect(await ask(file, { account: 'bob', action: 'delete' })).toEqual({
      code: 0,
      out: 'delete in team/app by bob: allowed by the default (there is neither acl nor access) (account *, name *, actions *)\n',
      err: '',
    });
    expect((await ask(file, {})).out).toBe('pull from team/app by anonymous: refused: no rule allows it\n');
    expect((await ask(await configured('acl: []'), {})).out).toEndWith('refused: there are no rules\n');
  });

  test('what the storage refuses to everybody is told', async () => {
    const rules = 'access: {pull: anonymous, push: anonymous, delete: anonymous}';
    const kept = await configured('storage: inmemory', rules);
    expect(await ask(kept, { action: 'delete' })).toMatchObject({
      code: 0,
      err: 'warning: nobody can delete as long as storage.delete.enabled is not true\n',
    });
    const frozen = await configured(
      'storage: {inmemory: , maintenance: {readonly: {enabled: true}}, delete: {enabled: true}}',
      rules,
    );
    const warning = 'warning: the registry is read-only at present (storage.maintenance.readonly)\n';
    expect((await ask(frozen, { action: 'push' })).err).toBe(warning);
    expect((await ask(frozen, { action: 'pull' })).err).toBe('');
  });
});

describe('without rules', () => {
  test.each([
    ['', {}, 0, 'allowed: there are no rules and no logins, so everybody may do everything\n'],
    ['auth: {silly: {realm: r, service: s}}', {}, 1, 'but a login is needed (auth.silly)\n'],
    ['auth: {silly: {realm: r, service: s}}', { account: 'x' }, 0, 'any login will do (auth.silly)\n'],
    [
      'auth: {token: {realm: "https://tokens.test/t", service: s, issuer: i, jwks: /j}}',
      { account: 'x' },
      2,
      'there are no rules here: the token server at https://tokens.test/t decides (auth.token)\n',
    ],
  ] as const)('%s %j', async (line, options, code, out) => {
    const answer = await ask(await configured(line), options);
    expect(answer).toMatchObject({ code, err: '' });
    expect(answer.out).toEndWith(out);
  });
});

describe('a wrong question is no refusal', () => {
  test.each([
    [{ repo: 'Team/App' }, '--repo: "Team/App" is no repository’s name\n'],
    [{ repo: '' }, '--repo: "" is no'],
    [{ action: 'destroy' }, '--action: expected pull, push or delete, found "destroy"\n'],
    [{ action: '*' }, '--action: expected'],
    [{ ip: '10.0.0.0/8' }, '--ip: "10.0.0.0/8" is no address\n'],
    [{ account: '*' }, '--account: "*" is no account’s name\n'],
    [{ account: 'a\u001B[2J' }, String.raw`--account: "a\u001b[2J" is no`],
  ])('%j', async (options, err) => {
    const answer = await ask(await configured('acl: []'), options);
    expect(answer).toMatchObject({ code: 2, out: '' });
    expect(answer.err).toStartWith(err);
  });

  test('nor is a wrong configuration', async () => {
    const file = await configured('acl: [{account: a, actions: [pul]}]');
    expect(await ask(file, {})).toMatchObject({ code: 2, out: '' });
    expect(await ask('/nowhere.yml', {})).toMatchObject({ code: 2, out: '' });
  });
});

describe('docs/access.md', () => {
  /** Account (`-` for none), action, repository, perhaps address; and whether the page says that it is allowed. */
  const told: Readonly<Record<string, Readonly<Record<string, boolean>>>> = {
    'Everybody pulls, accounts push': {
      '- pull a': true,
      '- push a': false,
      'alice push a': true,
      'alice delete a': false,
    },
    'One team': {
      'alice push team/app': true,
      'alice delete team/app': false,
      'alice push public/app': false,
      '- pull team/app': false,
      '- pull public/app': true,
    },
    Groups: {
      'alice push prod/app': true,
      'bob push prod/app': false,
      'bob pull prod/app': true,
      'bob delete dev/app': true,
      'eve pull dev/app': false,
    },
    'A folder for each account': {
      'alice delete home/alice/app': true,
      'bob push home/alice/app': false,
      'bob pull home/alice/app': true,
      'al push home/alice/app': false,
      '- pull home/alice/app': false,
      'Alice push home/alice/app': false,
      'alice push home/alice/ci/app': true,
      'alice/ci push home/alice/ci/app': true,
    },
    'CI that pushes and nothing else': {
      'ci push team/app': true,
      'ci delete team/app': false,
      'ci push other': false,
      'alice pull team/app': true,
      'alice push team/app': false,
    },
    'By address': {
      'ci push a 10.20.1.1': true,
      'ci push a 10.21.1.1': false,
      'ci push a fd00:20::1': true,
      '- pull a ::ffff:10.9.9.9': true,
      '- pull a 11.0.0.1': false,
      'ci push a': false,
    },
    'All but some': {
      'alice+admins push secret/app': true,
      'alice+dev pull secret/app': false,
      'alice+dev push app': true,
      'alice pull app': true,
      'alice push app': false,
      '- pull app': false,
    },
  };
  const page = readFile(new URL('../../docs/access.md', import.meta.url), 'utf8');
  const example = (section: string) => /```yaml\n(.*?)```/s.exec(section)?.[1]?.replaceAll('$2y$10$…', HASH);

  async function sections(): Promise<ReadonlyMap<string, string>> {
    return new Map(
      (await page).split('\n## ').map((text) => [text.slice(0, text.indexOf('\n')), text] as const),
    );
  }

  test('has no example that is not tried here', async () => {
    const titles = [...(await sections())].filter(([, text]) => example(text) !== undefined);
    expect(titles.map(([title]) => title).sort()).toEqual(Object.keys(told).sort());
  });

  test.each(Object.entries(told))('%s', async (title, answers) => {
    const yaml = example((await sections()).get(title) ?? '');
    const file = await configured(yaml ?? 'no example');
    for (const [question, allowed] of Object.entries(answers)) {
      const [who = '', action = '', repo = '', ip] = question.split(' ');
      const [account = '', ...group] = who.replace('-', '').split('+');
      const { code } = await ask(file, { account, group, action, repo, ...(ip === undefined ? {} : { ip }) });
      expect([question, code]).toEqual([question, allowed ? 0 : 1]);
    }
  });

  test('the table of patterns', async () => {
    const rows = ((await sections()).get('Patterns') ?? '').matchAll(/^\| `(.*)` \| (.*) \| (.*)\|$/gm);
    const names = (cell = '') => [...cell.matchAll(/`([^`]*)`/g)].map(([, name = '']) => name);
    let count = 0;
    for (const [, pattern = '', yes, no] of rows) {
      const file = await configured(`acl: [{anonymous: true, name: "${pattern}", actions: pull}]`);
      for (const repo of names(yes)) expect([repo, (await ask(file, { repo })).code]).toEqual([repo, 0]);
      for (const repo of names(no)) expect([repo, (await ask(file, { repo })).code]).toEqual([repo, 1]);
      count += 1;
    }
    expect(count).toBe(6);
  });
});

test('of a repository with several names the one is asked for that rules are about, and said', async () => {
  const file = await configured(
    'proxy: {upstreams: [{name: lab, url: "http://127.0.0.1:1"}]}',
    `users: {alice: "${HASH}"}`,
    'acl: [{account: alice, name: proxy/lab/*, actions: pull}]',
  );
  const { code, err } = await ask(file, { account: 'alice', repo: 'lab/team/app' });
  expect([code, err]).toEqual([0, 'lab/team/app is proxy/lab/team/app: rules are asked for that name\n']);
});
