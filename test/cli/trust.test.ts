/** `entrepot trust` on the files of a machine that is a folder, towards a registry that makes its own certificates. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import type { CommandInput, CommandIo } from '../../src/cli/command-io.ts';
import { trust, type TrustOptions } from '../../src/cli/trust.ts';
import { freePort } from '../harness/daemon.ts';
import { type RunningRegistry, startEntrepot } from '../harness/entrepot.ts';
import { run } from '../harness/tools.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';

let workspace: Workspace;
let registry: RunningRegistry;
let host: string;
let fingerprint: string;
beforeAll(async () => {
  workspace = await createWorkspace('trust');
  const port = await freePort();
  registry = await startEntrepot({ port, config: { http: { tls: { auto: true } } }, isTls: true });
  host = `localhost:${port}`;
  const pem = await readFile(`${registry.dataDirectory}/_entrepot/tls/root.crt`);
  fingerprint = new X509Certificate(pem).fingerprint256;
}, 30_000);
afterAll(async () => {
  await registry.dispose();
  await workspace.remove();
});

let machines = 0;
async function machine(...folders: readonly string[]): Promise<string> {
  const root = workspace.join(`machine-${(machines += 1)}`);
  for (const folder of ['/', ...folders]) await mkdir(`${root}${folder}`, { recursive: true });
  return root;
}

async function ask(options: Partial<TrustOptions>, typed?: string) {
  let out = '';
  let err = '';
  const input: CommandInput = Object.assign(Readable.from([typed ?? '']), { isTTY: typed !== undefined });
  const io: CommandIo = {
    env: {},
    input,
    out: (text) => void (out += text),
    err: (text) => void (err += text),
  };
  const code = await trust({ host, platform: 'linux', ...options }, io);
  return { code, out, err };
}

const everywhere = ['/etc/docker', '/etc/containers', '/etc/containerd'];

test('the authority goes where the machine’s programs look, after a look at its fingerprint', async () => {
  const root = await machine(...everywhere);
  const { code, err } = await ask({ root }, 'y\n');
  expect([code, err]).toEqual([0, expect.stringContaining(`SHA-256 ${fingerprint}`)]);
  for (const folder of ['/etc/docker/certs.d', '/etc/containers/certs.d', '/etc/containerd/certs.d']) {
    const pem = await readFile(`${root}${folder}/${host}/ca.crt`);
    expect(new X509Certificate(pem).fingerprint256).toBe(fingerprint);
  }
  expect(await readFile(`${root}/etc/containerd/certs.d/${host}/hosts.toml`, 'utf8')).toContain(
    `[host."https://${host}"]`,
  );
  // What it wrote is what a client believes by.
  const folder = `${root}/etc/containers/certs.d/${host}`;
  const list = ['list-tags', '--cert-dir', folder, `docker://${host}/none`];
  expect(run('skopeo', list)).rejects.toThrow('404');
  expect(run('skopeo', ['list-tags', `docker://${host}/none`])).rejects.toThrow('certificate');
  expect((await ask({ root, remove: true })).code).toBe(0);
  expect(existsSync(`${folder}/ca.crt`)).toBe(false);
});

test('only what is there is written to, and with --print nothing', async () => {
  const root = await machine('/etc/docker');
  const told = await ask({ root, print: true, fingerprint });
  expect([told.code, told.out]).toEqual([0, `docker: write /etc/docker/certs.d/${host}/ca.crt\n`]);
  expect(existsSync(`${root}/etc/docker/certs.d`)).toBe(false);
  expect((await ask({ root, fingerprint: fingerprint.replaceAll(':', '').toLowerCase() })).code).toBe(0);
  expect(existsSync(`${root}/etc/containers`)).toBe(false);
  const bare = await ask({ root: await machine(), fingerprint });
  expect([bare.code, bare.err]).toEqual([
    1,
    'no program that looks for authorities was found on this machine\n',
  ]);
});

test.each([
  ['a no', {}, 'n\n', 'Nothing is trusted.'],
  ['nobody to ask', {}, undefined, 'nobody can be asked here'],
  ['another fingerprint', { fingerprint: '00' }, undefined, 'has another fingerprint'],
  ['no registry', { host: 'localhost:1' }, 'y\n', 'https://localhost:1/root-ca.crt: '],
  ['no host', { host: 'a/b' }, 'y\n', 'expected a host'],
] as const)('%s changes nothing', async (_, options, typed, message) => {
  const root = await machine(...everywhere);
  const { code, err } = await ask({ root, ...options }, typed);
  expect([code > 0, err]).toEqual([true, expect.stringContaining(message)]);
  expect(existsSync(`${root}/etc/docker/certs.d`)).toBe(false);
});

test('elsewhere it tells what to do', async () => {
  const { code, out } = await ask({ root: await machine(), platform: 'darwin', fingerprint });
  expect([code, out]).toEqual([0, expect.stringContaining('security add-trusted-cert')]);
});
