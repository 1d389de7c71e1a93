/** Health and metrics of a server (`http.debug`), and what is known of runs after a restart. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { entrepotCommand, type RunningRegistry, startEntrepot } from '../harness/entrepot.ts';
import { freePort } from '../harness/ports.ts';
import { pushBlob } from '../harness/registry-client.ts';
import { run } from '../harness/tools.ts';
import { untilHolds } from '../harness/waiting.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';

let workspace: Workspace;
let registry: RunningRegistry;
let debug = '';

beforeAll(async () => {
  workspace = await createWorkspace('metrics');
  debug = `127.0.0.1:${await freePort()}`;
  await start();
});

afterAll(async () => {
  await registry.dispose();
  await workspace.remove();
});

async function start(): Promise<void> {
  registry = await startEntrepot({
    workers: 2,
    dataDirectory: workspace.join('data'),
    config: { http: { debug: { addr: debug, prometheus: { enabled: true, path: '/numbers' } } } },
  });
}

/** When the server can be asked by commands. */
const isAnswering = async (): Promise<boolean> => (await entrepot('jobs')) === 0;

async function entrepot(...args: readonly string[]): Promise<number> {
  const { command, args: before } = await entrepotCommand();
  return (await run(command, [...before, ...args, registry.configFile], { mayFail: true })).code;
}

/** All that is answered to what is sent. */
async function exchange(address: string, sent: string): Promise<string> {
  const [hostname = '', port] = address.split(':');
  const socket = connect(Number(port), hostname);
  socket.end(sent);
  let told = '';
  for await (const bytes of socket) told += String(bytes);
  return told;
}

/** Samples by name and labels, as they are written. */
async function metrics(): Promise<Readonly<Record<string, number>>> {
  const answer = await fetch(`http://${debug}/numbers`);
  expect(answer.headers.get('content-type')).toStartWith('text/plain; version=0.0.4');
  const lines = (await answer.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return Object.fromEntries(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
  );
}

const SCRUB = '{job="scrub"}';

test('health, metrics, and nothing else', async () => {
  // A worker may answer before all of them do.
  await untilHolds(isAnswering);
  expect(await (await fetch(`http://${debug}/debug/health`)).text()).toBe('{}');
  expect((await fetch(`http://${debug}/metrics`)).status).toBe(404);
  expect((await fetch(`http://${debug}/v2/`)).status).toBe(404);
  expect((await fetch(`http://${debug}/numbers`, { method: 'POST' })).status).toBe(405);
  expect((await fetch(`http://${debug}/numbers`, { method: 'HEAD' })).status).toBe(200);
  expect((await fetch(`${registry.url}/numbers`)).status).toBe(404);
  for (const host of [':::', '[bad', 'x:99999', '%%', 'a b']) {
    const asked = await exchange(
      debug,
      `GET /debug/health HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
    );
    expect([host, asked]).toEqual([host, expect.stringMatching(/^HTTP\/1\.1 (200|4\d\d) /)]);
  }
  for (const target of ['//', '//:99999/', '*', 'http://[', '/%'])
    expect(await exchange(debug, `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)).toMatch(
      /^HTTP\/1\.1 4\d\d /,
    );
  expect((await fetch(`http://${debug}/debug/health?full`)).status).toBe(200);
  const before = await metrics();
  expect(before).toMatchObject({ entrepot_read_only: 0, [`entrepot_job_running${SCRUB}`]: 0 });
  expect(before[`entrepot_job_problems${SCRUB}`]).toBeUndefined();
});

test('what a scrub found is told, also after a restart; runs of commands on a stopped storage count, dry runs do not', async () => {
  const began = Date.now() / 1000;
  const digest = await pushBlob(registry.url, 'app', Buffer.from('content'));
  expect(await entrepot('scrub')).toBe(0);
  expect(await metrics()).toMatchObject({
    [`entrepot_job_problems${SCRUB}`]: 0,
    [`entrepot_job_last_run_failed${SCRUB}`]: 0,
  });
  const hex = digest.slice(7);
  const blob = workspace.join(`data/docker/registry/v2/blobs/sha256/${hex.slice(0, 2)}/${hex}/data`);
  await writeFile(blob, 'damaged');
  expect(await entrepot('scrub')).toBe(3);
  const found = await metrics();
  expect(found[`entrepot_job_problems${SCRUB}`]).toBe(1);
  expect(found[`entrepot_job_last_success_timestamp_seconds${SCRUB}`]).toBeGreaterThanOrEqual(began);

  await registry.stop();
  expect(await entrepot('gc')).toBe(0);
  expect(await entrepot('gc', '--dry-run')).toBe(0);
  await start();
  await untilHolds(isAnswering);
  const after = await metrics();
  for (const name of ['problems', 'last_success_timestamp_seconds', 'last_end_timestamp_seconds'])
    expect(after[`entrepot_job_${name}${SCRUB}`]).toBe(found[`entrepot_job_${name}${SCRUB}`]);
  expect(after).toMatchObject({ 'entrepot_job_last_run_failed{job="gc"}': 0 });
  const { command, args } = await entrepotCommand();
  const { stdout } = await run(command, [...args, 'jobs', '--json', registry.configFile]);
  expect(JSON.parse(stdout)).toMatchObject({
    ended: [
      { job: 'scrub', by: 'command', outcome: { kind: 'done', summary: { problems: 1 } } },
      { job: 'gc', options: { dryRun: false } },
    ],
  });
});

test('read-only mode is told; so is a note that cannot be read passed over', async () => {
  expect(await entrepot('read-only', 'on')).toBe(0);
  // What may not be done is no run that failed.
  const before = await metrics();
  expect(await entrepot('retention')).toBe(1);
  expect(await metrics()).toEqual({ ...before, entrepot_read_only: 1 });
  expect(await entrepot('read-only', 'off')).toBe(0);
  const notes = workspace.join('data/docker/registry/v2/_entrepot/jobs');
  await writeFile(`${notes}/scrub.done`, '{"job": 3}');
  await writeFile(`${notes}/gc.last`, 'x');
  await rm(`${notes}/gc.done`);
  const left = await metrics();
  expect(left['entrepot_job_problems{job="scrub"}']).toBeUndefined();
  expect(left['entrepot_job_last_run_failed{job="gc"}']).toBeUndefined();
});

test('an address that is taken is told', async () => {
  const config = workspace.join('other.yml');
  const storage = `storage: {filesystem: {rootdirectory: ${workspace.join('other')}}}`;
  await writeFile(
    config,
    `version: 0.1\n${storage}\nhttp: {addr: "127.0.0.1:${await freePort()}", debug: {addr: "${debug}"}}\n`,
  );
  const { command, args } = await entrepotCommand();
  const { code, stderr } = await run(command, [...args, 'serve', config], { mayFail: true });
  expect(code).toBe(1);
  expect(stderr).toContain(`http.debug.addr: `);
});
