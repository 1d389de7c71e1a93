/** What was taken up while the server runs stays in force in every process that starts later. */
import { afterEach, expect, setDefaultTimeout, test } from 'bun:test';
import { rename, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { hashSync } from 'bcryptjs';
import { childrenOf } from '../faults/worker-pids.ts';
import { entrepotCommand, type RunningRegistry } from '../harness/entrepot.ts';
import { freePort } from '../harness/ports.ts';
import { startRegistry } from '../harness/running-registry.ts';
import { run } from '../harness/tools.ts';
import { type Condition, untilHolds } from '../harness/waiting.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';
import { imageBytes, OCI_MANIFEST } from '../store/content.ts';

// Only a server that hangs ever meets this limit (milliseconds); a busy machine must not.
setDefaultTimeout(300_000);

const PASSWORD = 'correct horse';
const HASH = hashSync(PASSWORD, 4);

let registry: RunningRegistry | undefined;
let workspace: Workspace | undefined;
afterEach(async () => {
  await registry?.dispose();
  await workspace?.remove();
  registry = undefined;
  workspace = undefined;
});

function basic(account: string): string {
  return `Basic ${Buffer.from(`${account}:${PASSWORD}`).toString('base64')}`;
}

/** Milliseconds. Node 20 may give a connection to a worker in the moment of its end: nobody answers it. */
const PATIENCE = 5_000;

/** The status of a request on a connection of its own; 0 when a crash took the connection. */
function ask(
  url: string,
  { method = 'GET', account, body }: { method?: string; account?: string; body?: Uint8Array } = {},
): Promise<number> {
  const headers = {
    ...(account === undefined ? {} : { authorization: basic(account) }),
    ...(body === undefined ? {} : { 'content-type': OCI_MANIFEST }),
  };
  return new Promise((resolve) => {
    const asked = request(url, { method, headers, agent: false, timeout: PATIENCE }, (answer) => {
      answer.resume();
      answer.on('error', () => resolve(0));
      answer.on('end', () => resolve(answer.statusCode ?? 0));
    });
    asked.on('timeout', () => asked.destroy());
    asked.on('error', () => resolve(0));
    asked.end(body);
  });
}

/** Asks all the time, until it is asked what was answered. */
function keepAsking(questions: Readonly<Record<string, () => Promise<number>>>) {
  const state = { isOver: false };
  const asking = Promise.all(
    Object.entries(questions).map(async ([name, question]) => {
      const seen = new Set<number>();
      while (!state.isOver) seen.add(await question());
      seen.delete(0);
      return [name, [...seen]] as const;
    }),
  );
  return async () => {
    state.isOver = true;
    return Object.fromEntries(await asking);
  };
}

/** Replaced as an editor does it. */
async function replaceFile(path: string, text: string): Promise<void> {
  await writeFile(`${path}.new`, text);
  await rename(`${path}.new`, path);
}

/** Has all workers replaced. */
async function roll(server: RunningRegistry): Promise<void> {
  const before = childrenOf(server.pid);
  process.kill(server.pid, 'SIGHUP');
  await untilHolds(
    () => {
      const now = childrenOf(server.pid);
      return now.length === before.length && !now.some((pid) => before.includes(pid));
    },
    () => server.logs(),
  );
}

/** Kills a worker, and waits for the next. */
async function crash(server: RunningRegistry): Promise<void> {
  const before = childrenOf(server.pid);
  const [first] = before;
  if (first === undefined) throw new Error('there is no worker');
  process.kill(first, 'SIGKILL');
  await untilHolds(() => /serves again/.test(logSince(server, String(first))));
}

/** The log from the last place where it says that. */
function logSince(server: RunningRegistry, text: string): string {
  const log = server.logs();
  return log.slice(log.lastIndexOf(text));
}

test('rights, accounts and rules of tags that were taken back do not return with a new worker', async () => {
  workspace = await createWorkspace('in-force');
  const configFile = workspace.join('registry.yml');
  const dataDirectory = workspace.join('data');
  const port = await freePort();
  const config = (who: string, accounts: readonly string[], tags: string) => `version: 0.1
log: {level: info, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: ${dataDirectory}}, delete: {enabled: true}}
http: {addr: "127.0.0.1:${port}", workers: 2}
users: {${accounts.map((name) => `${name}: "${HASH}"`).join(', ')}}
access: {pull: ${who}, push: ${who}, delete: ${who}}
retention: {rules: [{repositories: "*", keep: [{tags: none}]}]}
tags: ${tags}
`;
  const strict = config('users', ['alice'], '{immutable: [{tags: "v*"}], protected: [{tags: latest}]}');
  await writeFile(configFile, config('anonymous', ['alice', 'bob'], '{}'));
  const { command, args } = await entrepotCommand();
  // Found by the variable: so that the file is followed however it was named.
  const env = { REGISTRY_CONFIGURATION_PATH: configFile };
  const server = await startRegistry('entrepot', { configFile, dataDirectory, port, env }, () => ({
    command,
    args: [...args, 'serve'],
  }));
  registry = server;
  const { url } = server;
  const until = (condition: Condition) => untilHolds(condition, () => server.logs());
  await until(() => server.logs().includes('serving on'));
  const put = (tag: string, mark: string, account?: string) =>
    ask(`${url}/v2/app/manifests/${tag}`, {
      method: 'PUT',
      body: imageBytes({ annotations: { mark } }),
      ...(account === undefined ? {} : { account }),
    });
  const upload = await fetch(
    `${url}/v2/app/blobs/uploads/?digest=sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a`,
    { method: 'POST', body: '{}' },
  );
  expect(upload.status).toBe(201);
  for (const tag of ['v1', 'latest', 'other']) expect(await put(tag, 'first')).toBe(201);
  expect(await ask(`${url}/v2/`, { account: 'bob' })).toBe(200);

  await replaceFile(configFile, strict);
  const anybody = () => ask(`${url}/v2/app/tags/list`);
  await until(async () =>
    (await Promise.all(Array.from({ length: 8 }, anybody))).every((answer) => answer === 401),
  );
  let mark = 0;
  const questions = {
    anybody,
    bob: () => ask(`${url}/v2/`, { account: 'bob' }),
    moved: () => put('v1', `${(mark += 1)}`, 'alice'),
    deleted: () => ask(`${url}/v2/app/manifests/latest`, { method: 'DELETE', account: 'alice' }),
  };
  const refused = { anybody: [401], moved: [409], deleted: [409] };
  const rollAndCrash = async () => {
    const seen = keepAsking(questions);
    await roll(server);
    await crash(server);
    const { bob, ...others } = await seen();
    expect(others).toEqual(refused);
    // Who is refused again and again is told to wait.
    expect([401, 429]).toEqual(expect.arrayContaining(bob ?? []));
  };
  await writeFile(configFile, `${strict}x: [`);
  await until(() => server.logs().includes('is wrong: what was in force stays so'));
  await rollAndCrash();
  await replaceFile(configFile, `${strict}# right again\n`);
  await rollAndCrash();
  // The upkeep of the server heeds the same rules.
  const gone = await run(command, [...args, 'retention', configFile], { mayFail: true });
  expect([gone.code, gone.stderr]).toEqual([0, '']);
  const left = ['v1', 'latest', 'other'].map((tag) =>
    ask(`${url}/v2/app/manifests/${tag}`, { account: 'alice' }),
  );
  expect(await Promise.all(left)).toEqual([200, 200, 404]);
  // With SIGHUP the file is read before it is answered by anybody new.
  await replaceFile(configFile, strict.replace('alice:', 'carol:'));
  await roll(server);
  await until(async () => (await ask(`${url}/v2/`, { account: 'carol' })) === 200);
  expect(await ask(`${url}/v2/`, { account: 'alice' })).not.toBe(200);
});
