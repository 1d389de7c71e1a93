import { afterAll, beforeAll, expect, test } from 'bun:test';
import { readFile } from 'node:fs/promises';
import { LdapDirectory, type LdapOptions } from '../../src/auth/ldap.ts';
import { failureOf } from '../harness/failure-of.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';
import { BASE, type Slapd, startSlapd } from './slapd.ts';
import { basic, startRegistry } from './registry.ts';

let workspace: Workspace;
let slapd: Slapd;

beforeAll(async () => {
  workspace = await createWorkspace('ldap');
  slapd = await startSlapd(workspace);
}, 300_000);

afterAll(async () => {
  await slapd?.stop();
  await workspace?.remove();
});

function directory(more: Partial<LdapOptions> = {}): LdapDirectory {
  return new LdapDirectory({
    url: `ldap://127.0.0.1:${slapd.port}`,
    startTls: false,
    bindDn: `cn=admin,${BASE}`,
    bindPassword: 'admin',
    baseDn: BASE,
    userFilter: '(uid=${account})',
    groupAttribute: 'memberOf',
    timeoutMs: 5_000,
    ...more,
  });
}

function logIn(account: string, password: string, more: Partial<LdapOptions> = {}) {
  return directory(more).authenticate({ kind: 'password', account, password });
}

test('an account with its groups', async () => {
  expect(await logIn('alice', 's3cret')).toEqual({ account: 'alice', groups: ['devs'], method: 'ldap' });
  expect(await logIn('bob', 's3cret')).toEqual({ account: 'bob', groups: [], method: 'ldap' });
  expect(await logIn('alice', 's3cret', { groupAttribute: '' })).toMatchObject({ groups: [] });
});

test('without an account to search by', async () => {
  const {
    bindDn: _,
    bindPassword: __,
    ...anonymous
  } = {
    bindDn: undefined,
    bindPassword: undefined,
  };
  const found = new LdapDirectory({
    url: `ldap://127.0.0.1:${slapd.port}`,
    startTls: false,
    baseDn: BASE,
    userFilter: '(uid=${account})',
    groupAttribute: 'memberOf',
    timeoutMs: 5_000,
    ...anonymous,
  });
  expect(await found.authenticate({ kind: 'password', account: 'bob', password: 's3cret' })).toMatchObject({
    account: 'bob',
  });
});

test('an account is the one that the directory names, however it is typed', async () => {
  for (const typed of ['ALICE', 'Alice', 'ａlice'])
    expect([typed, await logIn(typed, 's3cret')]).toMatchObject([typed, { account: 'alice' }]);
  const byMail = { userFilter: '(|(uid=${account})(mail=${account}))' };
  expect(await logIn('J@Example.test', 's3cret', byMail)).toMatchObject({ account: 'j@example.test' });
  // What the filter makes of the name cannot be told from the entry.
  const prefixed = { userFilter: '(mail=${account}@example.test)' };
  expect(await logIn('J', 's3cret', prefixed)).toMatchObject({ account: 'j' });
});

test('names that are not ASCII, and attributes however they are spelt', async () => {
  expect(await logIn('jörg', 's3cret')).toMatchObject({ account: 'jörg', groups: ['dév,ops'] });
  expect(await logIn('alice', 's3cret', { groupAttribute: 'memberof' })).toMatchObject({ groups: ['devs'] });
});

test('over TLS, by an authority that is named', async () => {
  const ca = await readFile(slapd.certificate, 'utf8');
  expect(await logIn('alice', 's3cret', { startTls: true, ca })).toMatchObject({ account: 'alice' });
  expect(await failureOf(logIn('alice', 's3cret', { startTls: true }))).toMatchObject({
    name: 'AuthenticationUnavailable',
  });
});

test('what is refused', async () => {
  expect(await logIn('alice', 'wrong')).toBe('refused');
  expect(await logIn('alice', '')).toBe('refused');
  expect(await logIn('alice', 'a\0b')).toBe('refused');
  expect(await logIn('nobody', 's3cret')).toBeUndefined();
  // No account's name, and so nothing that gets into a filter.
  for (const name of ['*', 'alice)(uid=*', '*)(uid=*', String.raw`alice\2a`, '']) {
    expect([name, await logIn(name, 's3cret')]).toEqual([name, undefined]);
  }
  // Two entries have this address.
  expect(await logIn('team@example.test', 's3cret', { userFilter: '(mail=${account})' })).toBeUndefined();
});

test('a directory that is away, or does not let us search, is no answer', async () => {
  const away = await failureOf(logIn('alice', 's3cret', { url: 'ldap://127.0.0.1:1' }));
  expect(away).toMatchObject({ name: 'AuthenticationUnavailable' });
  const locked = await failureOf(logIn('alice', 's3cret', { bindPassword: 'wrong' }));
  expect(locked).toMatchObject({ name: 'AuthenticationUnavailable' });
});

test('as a registry’s users meet it', async () => {
  const settings = `{url: "ldap://127.0.0.1:${slapd.port}", binddn: "cn=admin,${BASE}", bindpassword: admin, basedn: "${BASE}"}`;
  const registry = await startRegistry(
    `auth: {hmac_secret: "${'x'.repeat(40)}", ldap: ${settings}}`,
    'acl: [{group: devs, name: team/*, actions: "*"}]',
  );
  const status = async (account: string, password: string) =>
    (await registry.send('/v2/team/a/tags/list', { headers: { authorization: basic(account, password) } }))
      .status;
  expect(await status('alice', 's3cret')).toBe(404);
  expect(await status('bob', 's3cret')).toBe(403);
  expect(await status('alice', 'wrong')).toBe(401);
  const down = await startRegistry(
    `auth: {hmac_secret: "${'x'.repeat(40)}", ldap: {url: "ldap://127.0.0.1:1", basedn: "${BASE}"}}`,
    'access: {pull: users}',
  );
  const answer = await down.send('/v2/', { headers: { authorization: basic('alice', 's3cret') } });
  expect(answer.status).toBe(503);
  expect(
    (await down.send('/v2/token', { headers: { authorization: basic('alice', 's3cret') } })).status,
  ).toBe(503);
});
