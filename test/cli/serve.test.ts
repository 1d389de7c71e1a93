/** What `entrepot serve` says and leaves undone when it cannot start with TLS. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { existsSync } from 'node:fs';
import { chmod, chown, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { datesOff, certificateFiles, openKeysOf } from '../../src/app-certificates.ts';
import { prepareAcme } from '../../src/app-acme.ts';
import type { Logger } from '../../src/log.ts';
import { StartFailure } from '../../src/start-failure.ts';
import { loaded } from '../config/config-file.ts';
import { entrepotCommand } from '../harness/entrepot.ts';
import { failureOf } from '../harness/failure-of.ts';
import { run } from '../harness/tools.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';

let workspace: Workspace;
beforeAll(async () => {
  workspace = await createWorkspace('serve');
});
afterAll(() => workspace.remove());

const ignore = () => undefined;
const log: Logger = { error: ignore, warn: ignore, info: ignore, debug: ignore };

test.each(['addr', 'plainaddr'])('an occupied %s is told before an authority is made', async (which) => {
  const occupant = createServer();
  const port = await new Promise<number>((resolve) =>
    occupant.listen(0, '127.0.0.1', () => resolve((occupant.address() as AddressInfo).port)),
  );
  const data = workspace.join(`data-${which}`);
  const [addr, plainaddr] = which === 'addr' ? [port, 0] : [0, port];
  const file = workspace.join(`${which}.yml`);
  await writeFile(
    file,
    `version: 0.1\nstorage: {filesystem: {rootdirectory: ${data}}}\nhttp: {addr: "127.0.0.1:${addr}", tls: {auto: true, plainaddr: "127.0.0.1:${plainaddr}"}}\n`,
  );
  const { command, args } = await entrepotCommand();
  try {
    const failure = await failureOf(run(command, [...args, 'serve', file]));
    expect(failure.message).toContain(`cannot listen on 127.0.0.1:${port}: it is in use`);
    expect(existsSync(`${data}/_entrepot/tls`)).toBe(false);
  } finally {
    occupant.close();
  }
});

test('a program for DNS records that cannot be run is told at the start', async () => {
  const hook = workspace.join('hook');
  const refusal = async (named: string) => {
    const config = await loaded(
      `version: 0.1\nstorage: {inmemory: {}}\nhttp: {tls: {letsencrypt: {hosts: a.example.com, challenge: dns-01, hook: ${named}, cachefile: ${workspace.join('acme')}}}}\n`,
    );
    return prepareAcme(config, log).then(
      () => 'none',
      (error: unknown) => (error instanceof StartFailure ? error.message : String(error)),
    );
  };
  expect(await refusal(hook)).toBe(`http.tls.letsencrypt.hook: ${hook}: there is no such file`);
  expect(await refusal('no-such-program-anywhere')).toContain('it is not in the PATH');
  await writeFile(hook, '#!/bin/sh\n', { mode: 0o600 });
  expect(await refusal(hook)).toContain('it cannot be run');
  await chmod(hook, 0o700);
  expect(await refusal(hook)).toBe('none');
  expect(await refusal('sh')).toBe('none');
});

test('a certificate of the operator’s that is out of its time is warned of', async () => {
  const [certificate, key] = [workspace.join('own.crt'), workspace.join('own.key')];
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key];
  await run('openssl', ['req', '-x509', ...kind, '-subj', '/CN=own', '-days', '2', '-out', certificate]);
  const config = await loaded(
    `version: 0.1\nstorage: {inmemory: {}}\nhttp: {tls: {certificate: ${certificate}, key: ${key}}}\n`,
  );
  const day = 86_400_000;
  expect(datesOff(config)).toEqual([]);
  expect(datesOff(config, Date.now() + 3 * day)).toEqual([
    expect.stringContaining(`${certificate} has expired`),
  ]);
  expect(datesOff(config, Date.now() - day)).toEqual([expect.stringContaining('is not valid before')]);
});

test('a key that others can read is warned of, with the command that mends it', async () => {
  const [certificate, key] = [workspace.join('open.crt'), workspace.join('open.key')];
  const config = await loaded(
    `version: 0.1\nstorage: {inmemory: {}}\nhttp: {tls: {certificate: ${certificate}, key: ${key}}}\n`,
  );
  await writeFile(key, '');
  const openAt = async (mode: number) => {
    await chmod(key, mode);
    return openKeysOf(config);
  };
  expect(await openAt(0o600)).toEqual([]);
  expect(await openAt(0o640)).toHaveLength(1);
  const [warning = ''] = await openAt(0o644);
  expect(warning).toContain(`${key} can be read by other users of this machine (0644)`);
  await run('sh', ['-c', warning.slice(warning.indexOf('chmod'))]);
  expect(openKeysOf(config)).toEqual([]);
  // Another user's, which is read here by the group.
  if (process.getuid?.() !== 0) return;
  await chown(key, 12_345, 0);
  expect(await openAt(0o640)).toEqual([]);
  expect((await openAt(0o644))[0]).toContain(`chgrp 0 ${key} && chmod 640 ${key}`);
  // A read-only file system in a mount namespace: a secret of a container.
  const folder = workspace.join('.');
  const program = `import { openKeysOf } from '${join(import.meta.dirname, '../../src/app-certificates.ts')}';
    process.stdout.write(String(openKeysOf(${JSON.stringify({ http: config.http })}).length));`;
  const script = `mount --bind ${folder} ${folder} && mount -o remount,ro,bind ${folder} && exec "$@"`;
  const asked = ['sh', '-c', script, 'sh', process.execPath, '-e', program];
  expect((await run('unshare', ['--mount', ...asked])).stdout).toBe('0');
  expect((await run('unshare', ['--mount', ...asked.slice(4)])).stdout).toBe('1');
});

test('a file that has both certificate and key is told of once', async () => {
  const { http } = await loaded(
    'version: 0.1\nstorage: {inmemory: {}}\nhttp: {tls: {letsencrypt: {hosts: a.example.com, cachefile: /acme}}}\n',
  );
  expect(http.tls === undefined ? [] : certificateFiles(http.tls)).toEqual(['/acme/certificate.pem']);
});
