import { afterAll, beforeAll, expect, test } from 'bun:test';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runDnsHook } from '../../src/tls/dns-hook.ts';
import { failureOf } from '../harness/failure-of.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'entrepot-hook-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

const RECORD = { domain: 'a.example', name: '_acme-challenge.a.example', value: 'v' };

async function hook(text: string): Promise<string> {
  const file = join(folder, `hook-${Math.random()}`);
  await writeFile(file, `#!/bin/sh\n${text}\n`);
  await chmod(file, 0o700);
  return file;
}

test('a program may say much, and is heard to its end', async () => {
  const noisy = await hook(
    `head -c 3000000 /dev/zero | tr '\\0' x\nhead -c 300000 /dev/zero | tr '\\0' y >&2\ntouch ${folder}/ended\nexit $CODE`,
  );
  process.env['CODE'] = '0';
  try {
    await runDnsHook(noisy, 'present', RECORD);
    process.env['CODE'] = '4';
    const { message } = await failureOf(runDnsHook(noisy, 'present', RECORD));
    expect(message).toEndWith(`exited with 4: ${'y'.repeat(300)}`);
  } finally {
    delete process.env['CODE'];
  }
  expect(await readFile(`${folder}/ended`, 'utf8')).toBe('');
});

test('what a program leaves running holds up nobody', async () => {
  const forking = await hook(`sleep 30 &\necho $! > ${folder}/left\nexit 0`);
  const failing = await hook(`sleep 30 &\necho $! > ${folder}/left-too\necho why >&2\nexit 2`);
  try {
    // The limit is far below what is left behind, and far above what it takes.
    await runDnsHook(forking, 'present', RECORD, 20_000);
    expect((await failureOf(runDnsHook(failing, 'cleanup', RECORD, 20_000))).message).toEndWith(
      'exited with 2: why',
    );
  } finally {
    // They still run: it throws for one that does not.
    for (const name of ['left', 'left-too']) process.kill(Number(await readFile(join(folder, name), 'utf8')));
  }
}, 300_000);
