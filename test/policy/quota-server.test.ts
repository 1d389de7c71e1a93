/** Quotas of a real server with several workers: pushes at once, a crash, and the command that shows them. */
import { expect, test } from 'bun:test';
import { hashSync } from 'bcryptjs';
import { spawnSync } from 'node:child_process';
import { FilesystemDriver } from '../../src/drivers/filesystem/filesystem-driver.ts';
import { DRIVER_FOLDER } from '../../src/store/layout.ts';
import { entrepotCommand, startEntrepot } from '../harness/entrepot.ts';
import { ask, closing, digestBy, jsonOf, locationOf, pushBlob } from '../harness/registry-client.ts';
import { uploadSessions } from '../faults/data-folder.ts';
import { createWorkspace } from '../harness/workspace.ts';
import { quotaCase } from './quota-case.ts';

const KB = 1000;
const QUOTA = { repositories: 'team/*', bytes: 50 * KB };
const CONFIG = { quotas: [{ repositories: 'team/*', bytes: '50kB' }] };

function content(number: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(KB).map((_, index) => (index < 4 ? number >> (index * 8) : 7));
}

/** Pushes by PATCH and PUT, and on a connection of its own, so that workers share the pushes. @returns the status */
async function push(url: string, repository: string, bytes: Uint8Array<ArrayBuffer>): Promise<number> {
  const init = { headers: { connection: 'close' } };
  const begun = await fetch(`${url}/v2/${repository}/blobs/uploads/`, { ...init, method: 'POST' });
  if (begun.status !== 202) return begun.status;
  const patched = await fetch(locationOf(begun), { ...init, method: 'PATCH', body: bytes });
  if (patched.status !== 202) return patched.status;
  const put = await fetch(closing(locationOf(patched), digestBy('sha256', bytes)), {
    ...init,
    method: 'PUT',
  });
  return put.status;
}

test('of 65 pushes at once by two workers exactly as many are taken as fit; the rest leaves nothing', async () => {
  const registry = await startEntrepot({ workers: 2, config: CONFIG });
  const numbers = Array.from({ length: 65 }, (_, number) => number);
  const statuses: number[] = [];
  const next = numbers.values();
  const pusher = async () => {
    for (const number of next)
      statuses.push(await push(registry.url, `team/r${number % 5}`, content(number)));
  };
  await Promise.all(Array.from({ length: 12 }, pusher));
  expect(statuses.filter((status) => status === 201)).toHaveLength(50);
  expect(statuses.filter((status) => status === 413)).toHaveLength(15);
  expect(await uploadSessions(registry.dataDirectory)).toEqual([]);
  // Not one byte more, and what is there already is free.
  await ask(registry.url, '/v2/team/r0/blobs/uploads/', 413, { method: 'POST' });
  const there = digestBy('sha256', content(0));
  const known = (await ask(registry.url, `/v2/team/r0/blobs/${there}`, [200, 404], { method: 'HEAD' }))
    .status;
  if (known === 200) {
    await ask(registry.url, `/v2/team/new/blobs/uploads/?mount=${there}&from=team/r0`, 201, {
      method: 'POST',
    });
  }
  await ask(registry.url, '/v2/other/free/blobs/uploads/', 202, { method: 'POST' });

  const { command, args } = await entrepotCommand();
  const usage = (...more: string[]) => {
    const done = spawnSync(command, [...args, 'usage', registry.configFile, ...more], {
      encoding: 'utf8',
    });
    return { code: done.status, out: done.stdout, err: done.stderr };
  };
  const table = usage();
  expect(table).toMatchObject({ code: 0, err: '' });
  expect(table.out).toMatch(
    /^NAMESPACE +REPOSITORIES +TAGS +BYTES +SHARED +LIMIT +%\nteam +[56] +0 +50\.0 kB +0 B +50\.0 kB +100\n/,
  );
  const lines = usage('--json')
    .out.trim()
    .split('\n')
    .map((line): unknown => JSON.parse(line));
  expect(lines).toContainEqual(
    expect.objectContaining({ what: 'quota', quota: 'team/*', bytes: 50 * KB, limit: 50 * KB }),
  );
  expect(
    usage('--repositories', 'team/r*')
      .out.split('\n')
      .filter((line) => line.startsWith('team/r')),
  ).toHaveLength(5);
  await registry.stop();
  expect(usage('--json').out).toContain('"bytes":50000');
  await registry.dispose();
}, 300_000);

test('a server that is killed while it is pushed to: counted anew, the quota holds to the byte', async () => {
  const workspace = await createWorkspace('quota-kill');
  const dataDirectory = await workspace.folder('data');
  const { recount, book, truth } = quotaCase(new FilesystemDriver(dataDirectory, DRIVER_FOLDER), [QUOTA]);
  let number = 0;
  for (const rounds of [5, 20]) {
    const registry = await startEntrepot({ dataDirectory, workers: 2, config: CONFIG });
    let acknowledged = 0;
    let killed: Promise<void> | undefined;
    const pusher = async () => {
      while (killed === undefined) {
        number += 1;
        const status = await push(registry.url, `team/k${number % 3}`, content(number)).catch(() => 0);
        if (status === 201) acknowledged += 1;
        if (acknowledged >= rounds) killed ??= registry.kill9();
      }
    };
    await Promise.all(Array.from({ length: 8 }, pusher));
    await killed;
    await registry.dispose();
  }
  await recount('team/*');
  const { bytes } = await truth('team/*');
  expect(bytes).toBeGreaterThanOrEqual(25 * KB);
  expect(await book('team/*')).toMatchObject({ bytes, reserved: 0 });
  const registry = await startEntrepot({ dataDirectory, workers: 2, config: CONFIG });
  const left = (50 * KB - bytes) / KB;
  for (let more = 0; more < left; more += 1) await pushBlob(registry.url, 'team/k0', content(10_000 + more));
  expect(await push(registry.url, 'team/k0', content(20_000))).toBe(413);
  await registry.dispose();
  await workspace.remove();
}, 300_000);

test('a refusal names the quota, is logged, and goes to the audit log with who it was', async () => {
  const registry = await startEntrepot({
    workers: 1,
    config: {
      log: { formatter: 'json' },
      quotas: [{ repositories: '{namespace}/*', bytes: '1kB' }],
      users: { ann: hashSync('her password', 10) },
      access: { push: ['users'] },
    },
  });
  const refused = await ask(registry.url, '/v2/ann/x/blobs/uploads/?digest=sha256:' + '0'.repeat(64), 413, {
    method: 'POST',
    body: new Uint8Array(1001),
    headers: { authorization: `Basic ${btoa('ann:her password')}` },
  });
  expect(await jsonOf(refused)).toEqual({
    errors: [
      {
        code: 'DENIED',
        message: expect.stringContaining('the quota of ann/* is used up: 0 B of 1 kB are in use'),
        detail: { quota: 'ann/*', limit: 1000, used: 0, needed: 1001 },
      },
    ],
  });
  expect(await uploadSessions(registry.dataDirectory)).toEqual([]);
  const logs = registry.logs();
  expect(logs).toContain('a push was refused');
  const audit = logs.split('\n').find((line) => line.includes('"denied"') && line.includes('ann/x'));
  expect(audit).toContain('the quota of ann/*');
  expect(audit).toContain('"ann"');
  await registry.dispose();
}, 300_000);
