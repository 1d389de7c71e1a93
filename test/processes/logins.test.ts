/** Logins of a whole server, in every form that it is run in. */
import { afterEach, beforeAll, expect, test } from 'bun:test';
import { readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { hashSync } from 'bcryptjs';
import { type RunningRegistry, startEntrepot } from '../harness/entrepot.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';
import { type Condition, untilHolds, untilLogged } from '../harness/waiting.ts';

const PASSWORD = 'correct horse';
const HASH = hashSync(PASSWORD, 10);

let workspace: Workspace;
let registry: RunningRegistry;
beforeAll(async () => {
  workspace = await createWorkspace('logins');
});
afterEach(async () => {
  await registry?.dispose();
});

function basic(account: string, password = PASSWORD): string {
  return `Basic ${Buffer.from(`${account}:${password}`).toString('base64')}`;
}

async function status(path: string, authorization?: string): Promise<number> {
  const headers = authorization === undefined ? {} : { authorization };
  const answer = await fetch(`${registry.url}${path}`, { headers });
  await answer.arrayBuffer();
  return answer.status;
}

/** Shows the server's log when it does not come to that. */
const until = (condition: Condition) => untilHolds(condition, () => registry.logs());

test('a password, and the token that it is exchanged for, are good for every worker', async () => {
  registry = await startEntrepot({
    workers: 2,
    config: { users: { alice: HASH }, access: { pull: ['users'] } },
  });
  const ask = await fetch(`${registry.url}/v2/token?scope=repository:a:pull&offline_token=true`, {
    headers: { authorization: basic('alice') },
  });
  const { token, refresh_token: refresh } = (await ask.json()) as { token: string; refresh_token: string };
  for (let request = 0; request < 12; request += 1) {
    expect(await status('/v2/', basic('alice'))).toBe(200);
    expect(await status('/v2/a/tags/list', `Bearer ${token}`)).toBe(404);
    const again = await fetch(`${registry.url}/v2/token`, {
      method: 'POST',
      body: new URLSearchParams({ grant_type: 'refresh_token', refresh_token: refresh }),
    });
    expect([request, again.status]).toEqual([request, 200]);
  }
  expect(await status('/v2/', basic('alice', 'wrong'))).toBe(401);
  expect(await status('/v2/')).toBe(401);
  const folder = `${registry.dataDirectory}/_entrepot`;
  expect((await stat(folder)).mode & 0o777).toBe(0o700);
  // A token outlives the processes that gave it out.
  const { dataDirectory, configFile, host } = registry;
  await registry.stop();
  registry = await startEntrepot({ configFile, dataDirectory, port: Number(host.split(':')[1]) });
  expect(await status('/v2/a/tags/list', `Bearer ${token}`)).toBe(404);
}, 300_000);

test('rights that change in the file count a moment later, and a broken file changes nothing', async () => {
  registry = await startEntrepot({
    workers: 2,
    config: { log: { level: 'info' }, users: { alice: HASH }, access: { pull: ['alice'] } },
  });
  const list = () => status('/v2/a/tags/list', basic('alice'));
  expect(await list()).toBe(404);
  const before = await readFile(registry.configFile, 'utf8');
  await writeFile(registry.configFile, before.replace('"pull"', '"pul"'));
  await until(() => Promise.resolve(registry.logs().includes('is wrong')));
  await untilLogged(registry, 'access.pul: unknown setting');
  expect(await list()).toBe(404);
  // Replaced as an editor does it.
  await writeFile(
    `${registry.configFile}.new`,
    before.replace(/"pull": \[\s*"alice"\s*\]/, '"pull": ["bob"]'),
  );
  await rename(`${registry.configFile}.new`, registry.configFile);
  await until(async () => (await Promise.all(Array.from({ length: 6 }, list))).every((one) => one === 403));
  process.kill(registry.pid, 'SIGHUP');
  await until(() => Promise.resolve(registry.logs().includes('replacing the workers')));
  await until(async () => (await Promise.all(Array.from({ length: 6 }, list))).every((one) => one === 403));
}, 300_000);

test("registry:2's htpasswd: a missing file is made, its password is told once, and it is read again", async () => {
  const path = workspace.join('htpasswd');
  registry = await startEntrepot({ config: { auth: { htpasswd: { realm: 'Realm', path } } } });
  const [, password = ''] = /password=(\S+)/.exec(registry.logs()) ?? [];
  const answer = await fetch(`${registry.url}/v2/`);
  expect(answer.headers.get('www-authenticate')).toBe('Basic realm="Realm"');
  expect(await status('/v2/', basic('docker', password))).toBe(200);
  expect(await status('/v2/token')).toBe(404);
  await writeFile(path, `bob:${HASH}\n`);
  await until(async () => (await status('/v2/', basic('bob'))) === 200);
  expect(await status('/v2/', basic('docker', password))).toBe(401);
  // A process that starts without the file knows no account, and says so before anybody asks.
  await rm(path);
  await until(async () => {
    expect(await status('/v2/', basic('bob'))).toBe(200);
    return registry.logs().includes('the accounts that it had before go on being good');
  });
  process.kill(registry.pid, 'SIGHUP');
  await until(() =>
    /there is no such file any more; it gives no accounts to this process/.test(registry.logs()),
  );
  await until(async () => (await status('/v2/', basic('bob'))) === 401);
}, 300_000);

test('guesses are counted in all workers together, also those that come at once', async () => {
  registry = await startEntrepot({ workers: 2, config: { users: { alice: HASH, bob: HASH } } });
  // Each on a connection of its own, so that both workers are asked.
  const guess = (account: string, password: string) =>
    fetch(`${registry.url}/v2/`, {
      headers: { authorization: basic(account, password), connection: 'close' },
    }).then(async (answer) => {
      await answer.arrayBuffer();
      return answer.status;
    });
  const answers = await Promise.all(
    Array.from({ length: 60 }, (_, index) => guess('alice', `wrong${index}`)),
  );
  // 4 are free, and one more runs beside the last of them in each of the workers.
  expect(answers.filter((answer) => answer === 401).length).toBeLessThanOrEqual(10);
  expect(new Set(answers)).toEqual(new Set([401, 429]));
  expect(await guess('alice', PASSWORD)).toBe(429);
  // Honest ones that come together all get in.
  const honest = await Promise.all(Array.from({ length: 40 }, () => guess('bob', PASSWORD)));
  expect(honest).toEqual(Array<number>(40).fill(200));
  // What can be no account's name costs nobody a hash, and is no account.
  expect(await guess('', 'x')).toBe(401);
}, 300_000);
