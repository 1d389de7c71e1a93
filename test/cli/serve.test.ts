/** What `entrepot serve` says and leaves undone when it cannot start with TLS. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { existsSync } from 'node:fs';
import { chmod, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { datesOff, certificateFiles } from '../../src/app-certificates.ts';
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

test('a file that has both certificate and key is told of once', async () => {
  const { http } = await loaded(
    'version: 0.1\nstorage: {inmemory: {}}\nhttp: {tls: {letsencrypt: {hosts: a.example.com, cachefile: /acme}}}\n',
  );
  expect(http.tls === undefined ? [] : certificateFiles(http.tls)).toEqual(['/acme/certificate.pem']);
});
