/** Which changes of the configuration file the supervisor takes up for all processes. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { hashSync } from 'bcryptjs';
import { readFile, rename, stat, utimes, writeFile } from 'node:fs/promises';
import { ConfigInForce } from '../../src/app-in-force.ts';
import { loadConfig } from '../../src/config/load.ts';
import { fileSignature } from '../../src/config/watch.ts';
import { run } from '../harness/tools.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';

let workspace: Workspace;
let number = 0;
beforeAll(async () => {
  workspace = await createWorkspace('in-force');
});
afterAll(() => workspace.remove());

/** A file with these sections beside the storage, and what is in force of it. */
async function followed(sections: string) {
  number += 1;
  const file = workspace.join(`${number}.yml`);
  const write = async (text: string, root = 'data') => {
    await writeFile(
      `${file}.new`,
      `version: 0.1\nstorage: {filesystem: {rootdirectory: ${workspace.join(root)}}}\n${text}\n`,
    );
    await rename(`${file}.new`, file);
  };
  await write(sections);
  const since = await fileSignature(file);
  const { config } = await loadConfig({ file, env: {} });
  const lines: string[] = [];
  const log = (message: string, fields: object = {}) =>
    void lines.push(`${message.replace(file, 'FILE')} ${JSON.stringify(fields)}`);
  const inForce = new ConfigInForce(config, {
    file,
    since,
    env: {},
    log: { debug: log, info: log, warn: log, error: log },
  });
  let changes = 0;
  inForce.follow(() => (changes += 1));
  return {
    start: config,
    file,
    inForce,
    lines,
    changes: () => changes,
    /** What is in force after the file says that. */
    async after(...text: Parameters<typeof write>) {
      lines.length = 0;
      changes = 0;
      await write(...text);
      await inForce.look();
      return inForce.config;
    },
  };
}

test('accounts, rights and rules of tags; all else stays as at the start and is told', async () => {
  const { start, inForce, after, lines, changes } = await followed('access: {pull: anonymous}');
  const tags = 'tags: {immutable: [{tags: "v*"}]}';
  const ruled = await after(`access: {pull: users}\n${tags}`);
  expect(ruled.tags.immutable).toHaveLength(1);
  expect(ruled.auth).not.toEqual(start.auth);
  expect(changes()).toBe(1);
  expect(lines.map((line) => line.slice('FILE has changed: '.length))).toEqual([
    'the rules of tags are taken up {}',
    'accounts and rights are taken up {}',
  ]);
  const upkeep =
    'retention: {rules: [{repositories: "*", keep: [{newest: 1}]}]}\ngarbage_collector: {grace: 1h}';
  const kept = await after(`access: {pull: users}\n${tags}\n${upkeep}`);
  expect([kept.retention?.rules, kept.garbageCollector.graceMs]).toEqual([[expect.anything()], 3_600_000]);
  expect([changes(), lines]).toEqual([
    1,
    ['FILE has changed: the settings of garbage_collector, the settings of retention are taken up {}'],
  ]);
  expect(await after(`access: {pull: users}\n${tags}`)).toEqual(ruled);
  expect(changes()).toBe(1);
  expect(await after(`access: {pull: users}\n${tags}\ncatalog: {maxentries: 7}`)).toEqual(ruled);
  expect(changes()).toBe(0);
  expect(lines).toEqual(['FILE has changed: catalog counts from the next start {}']);
  expect(await after('access: {pul: users}')).toEqual(ruled);
  expect(lines.join()).toContain('FILE has changed and is wrong: what was in force stays so');
  // To open the registry is more than a change of rights, but the tags are free again.
  const opened = await after('');
  expect(opened.auth).toEqual(ruled.auth);
  expect(opened.tags).toEqual(start.tags);
  expect(lines.join()).toContain('another kind of login counts from the next start');
  inForce.stop();
});

test('not where tokens are kept and what signs them: processes would refuse each other', async () => {
  const { start, inForce, after, lines } = await followed('access: {pull: users}\nusers: {}');
  const moved = await after('access: {pull: users, push: users}', 'elsewhere');
  if (moved.auth?.kind !== 'own' || start.auth?.kind !== 'own') throw new Error('no accounts of our own');
  expect(moved.auth.acl.length).toBeGreaterThan(start.auth.acl.length);
  const { stateDirectory, htpasswd } = start.auth;
  expect(stateDirectory).toBeDefined();
  expect(moved.auth).toMatchObject({ stateDirectory, htpasswd });
  expect(lines.join()).toContain('the signing or keeping of tokens (auth)');
  inForce.stop();
});

test('not what a process could not start with', async () => {
  const { start, inForce, after, lines, changes } = await followed('access: {pull: users}');
  const ca = workspace.join('missing.pem');
  const ldap = `ldap: {url: "ldaps://127.0.0.1", ca: ${ca}, basedn: "dc=a", userfilter: "(uid=\${account})"}`;
  expect(await after(`access: {pull: users}\nauth: {${ldap}}`)).toEqual(start);
  expect(changes()).toBe(0);
  expect(lines.join()).toContain('cannot be used: accounts and rights stay as they were');
  expect(lines.join()).toContain(ca);
  inForce.stop();
});

test('a look does not come before one that began earlier', async () => {
  const { inForce, after } = await followed('access: {pull: users}');
  const early = inForce.look();
  const { auth } = await after('access: {pull: users, push: users}');
  await early;
  expect(inForce.config.auth).toEqual(auth as NonNullable<typeof auth>);
  inForce.stop();
});

test('what could not be used is taken up when what it lacks has come, and told once', async () => {
  const { inForce, after, lines } = await followed(
    `access: {pull: anonymous}\nusers: {bob: {password: "${hashSync('x', 4)}"}}`,
  );
  const ca = workspace.join('later.pem');
  const ldap = `ldap: {url: "ldaps://127.0.0.1", basedn: "dc=x", ca: ${ca}}`;
  await after(`access: {pull: users}\nauth: {${ldap}}`);
  const told = () => lines.filter((line) => line.includes('cannot be used')).length;
  for (let looks = 0; looks < 3; looks += 1) await inForce.look();
  expect([told(), JSON.stringify(inForce.config.auth).includes('bob')]).toEqual([1, true]);
  await writeFile(ca, await certificate());
  await inForce.look();
  expect(lines.at(-1)).toContain('accounts and rights are taken up');
  expect(JSON.stringify(inForce.config.auth)).not.toContain('bob');
});

test('a change that keeps size, time and inode is seen', async () => {
  const { inForce, after, file } = await followed('access: {pull: anonymous, push: users}');
  await after('access: {pull: users, push: nobody}');
  // It looks by itself as well, at any moment from here on.
  const first = JSON.stringify(inForce.config.auth);
  const before = await stat(file);
  const text = await readFile(file, 'utf8');
  await writeFile(file, text.replace('{pull: users, push: nobody}', '{pull: nobody, push: users}'));
  await utimes(file, before.atime, before.mtime);
  await inForce.look();
  expect(JSON.stringify(inForce.config.auth)).not.toBe(first);
});

async function certificate(): Promise<string> {
  const [key, pem] = [workspace.join('ca.key'), workspace.join('ca.pem')];
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  await run('openssl', ['req', '-x509', ...kind, '-subj', '/CN=ca', '-keyout', key, '-out', pem]);
  return readFile(pem, 'utf8');
}

test('a pipe in the place of the file is not waited for, and the file is taken up when it is back', async () => {
  const { inForce, lines, file, after } = await followed('tags: {protected: [{tags: "v*"}]}');
  await run('mkfifo', [`${file}.pipe`]);
  await rename(`${file}.pipe`, file);
  await inForce.look();
  expect(lines).toEqual([
    'FILE has changed and is wrong: what was in force stays so {"error":"' +
      `${file}: it is no file any more that can be read again"}`,
  ]);
  expect((await after('tags: {protected: [{tags: "w*"}]}')).tags.protected).toMatchObject([{ tags: ['w*'] }]);
  inForce.stop();
});
