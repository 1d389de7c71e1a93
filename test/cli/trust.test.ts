/** `entrepot trust` on the files of a machine that is a folder, towards a registry that makes its own certificates. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { CommandInput, CommandIo } from '../../src/cli/command-io.ts';
import { trustLines } from '../../src/cli/trust-card.ts';
import { trust, type TrustOptions } from '../../src/cli/trust.ts';
import { loaded } from '../config/config-file.ts';
import { freePort } from '../harness/ports.ts';
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
}, 300_000);
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
  ['no registry', { host: 'localhost:1' }, 'y\n', 'https://localhost:1/root-ca.crt: nobody listens there'],
  ['no such host', { host: 'none.invalid' }, 'y\n', 'there is no such host'],
  ['no host', { host: 'a/b' }, 'y\n', 'expected a host'],
  ['no port', { host: 'localhost:70000' }, 'y\n', 'expected a host'],
  ['the folder above', { host: '..', remove: true }, undefined, 'expected a host'],
  ['this folder', { host: '.' }, 'y\n', 'expected a host'],
  ['an empty label', { host: 'a..b:5000' }, 'y\n', 'expected a host'],
  ['no address in brackets', { host: '[1.2.3]' }, 'y\n', 'expected a host'],
  ['an address without brackets', { host: '::1' }, 'y\n', '[fd00::1]:5000'],
] as const)('%s changes nothing', async (_, options, typed, message) => {
  const root = await machine(...everywhere);
  const { code, err } = await ask({ root, ...options }, typed);
  expect([code > 0, err]).toEqual([true, expect.stringContaining(message)]);
  expect(existsSync(`${root}/etc/docker/certs.d`)).toBe(false);
});

test('a server that its own authority does not prove is not trusted', async () => {
  const root = await machine(...everywhere);
  // The address of this host in a form for which there is no certificate.
  const unknown = await ask({ root, host: host.replace('localhost', '127.1'), fingerprint });
  expect([unknown.code, unknown.err]).toEqual([1, expect.stringContaining('http.tls.names')]);
  const plain = createServer((_request, response) => response.end());
  const port = await new Promise<number>((resolve) =>
    plain.listen(0, '127.0.0.1', () => resolve((plain.address() as AddressInfo).port)),
  );
  const spoken = await ask({ root, host: `127.0.0.1:${port}`, fingerprint });
  plain.close();
  expect([spoken.code, spoken.err]).toEqual([1, expect.stringContaining('it speaks no TLS there')]);
  expect(existsSync(`${root}/etc/docker/certs.d`)).toBe(false);
});

test('what is trusted is the one certificate whose fingerprint was seen', async () => {
  const root = await machine(...everywhere);
  const pair = async (name: string, ...ext: readonly string[]) => {
    const [key, crt] = [workspace.join(`${name}.key`), workspace.join(`${name}.crt`)];
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key];
    const names = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=DNS:localhost', ...ext];
    await run('openssl', ['req', '-x509', ...curve, '-out', crt, ...names]);
    return { key: await readFile(key), crt: await readFile(crt, 'utf8') };
  };
  const mine = await pair('shown');
  const other = await pair('hidden');
  const leaf = await pair('leaf', '-addext', 'basicConstraints=critical,CA:FALSE');
  let body: string | Buffer = '';
  const server = createTlsServer({ cert: mine.crt, key: mine.key }, (_request, response) =>
    response.end(body),
  );
  const port = await new Promise<number>((resolve) =>
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)),
  );
  const ours = (pem: string) => new X509Certificate(pem).fingerprint256;
  const from = async (sent: string, seen = ours(mine.crt)) => {
    body = sent;
    return ask({ root, host: `localhost:${port}`, fingerprint: seen });
  };
  const padded = Buffer.concat([new X509Certificate(mine.crt).raw, new X509Certificate(other.crt).raw]);
  try {
    for (const [sent, seen] of [
      [mine.crt + other.crt],
      [other.crt + mine.crt, ours(other.crt)],
      [`# a text\n${mine.crt}`],
      [`${mine.crt}$(touch x)`],
      [`-----BEGIN CERTIFICATE-----\n${padded.toString('base64')}\n-----END CERTIFICATE-----\n`],
      [mine.crt.replace('-----BEGIN CERTIFICATE-----\n', '-----BEGIN CERTIFICATE-----\nX-Header: 1\n\n')],
      [leaf.crt, ours(leaf.crt)],
    ] as const) {
      const { code, err } = await from(sent, seen);
      expect([code, err]).toEqual([1, expect.stringContaining('not one certificate of an authority')]);
      expect(existsSync(`${root}/etc/docker/certs.d`)).toBe(false);
    }
    // One for which the server has no certificate proves nothing, though its fingerprint was seen.
    expect((await from(other.crt, ours(other.crt))).err).toContain('clients would refuse the server');
    expect((await from(`\r\n${mine.crt.replaceAll('\n', '\r\n')}`)).code).toBe(0);
    expect(await readFile(`${root}/etc/docker/certs.d/localhost:${port}/ca.crt`, 'utf8')).toBe(
      `# by entrepot trust\n${mine.crt}`,
    );
  } finally {
    server.close();
  }
});

test('a folder above the stores is no host', async () => {
  const root = await machine(...everywhere);
  await writeFile(`${root}/etc/docker/ca.crt`, 'somebody’s own');
  expect((await ask({ root, host: '..', remove: true })).code).toBe(2);
  expect(existsSync(`${root}/etc/docker/ca.crt`)).toBe(true);
});

test('an address as a browser shows it is taken too', async () => {
  const root = await machine('/etc/docker');
  const { code } = await ask({ root, host: `https://${host}/`, fingerprint });
  expect([code, existsSync(`${root}/etc/docker/certs.d/${host}/ca.crt`)]).toEqual([0, true]);
});

test('what somebody wrote for containerd stays, and what it needs is told', async () => {
  const folder = `/etc/containerd/certs.d/${host}`;
  const root = await machine(folder);
  const own = `${root}${folder}/hosts.toml`;
  await writeFile(own, 'server = "https://elsewhere"\n');
  const { code, out } = await ask({ root, fingerprint });
  expect([code, out]).toEqual([0, expect.stringContaining(`ca = "${folder}/ca.crt"`)]);
  expect(out).toContain('config_path = "/etc/containerd/certs.d"');
  expect((await ask({ root, remove: true })).code).toBe(0);
  expect(existsSync(`${root}${folder}/ca.crt`)).toBe(false);
  expect(await readFile(own, 'utf8')).toContain('elsewhere');
  expect((await ask({ root, remove: true })).out).toEndWith(`${host} was not trusted\n`);
});

test('containerd’s section is named as the version of its configuration has it', async () => {
  const root = await machine('/etc/containerd');
  const told = async (toml: string) => {
    await writeFile(`${root}/etc/containerd/config.toml`, toml);
    const { out } = await ask({ root, fingerprint });
    return [...out.matchAll(/\[plugins\.[^\]]+\]/g)].map(([section]) => section);
  };
  const [old, since3] = [
    '[plugins."io.containerd.grpc.v1.cri".registry]',
    '[plugins."io.containerd.cri.v1.images".registry]',
  ];
  expect(await told('# comment\nversion = 3\nroot = "/r"\n')).toEqual([since3]);
  expect(await told('version = 2\n')).toEqual([old]);
  expect(await told('')).toEqual([since3, old]);
  const path = 'config_path = "/etc/containerd/certs.d"';
  for (const set of [
    `version = 3\n${since3}\n  ${path} # ours\n`,
    `version = 3 # new\r\n[plugins]\r\n  [plugins.'io.containerd.cri.v1.images'.registry]\r\n    config_path = '/etc/containerd/certs.d/:/etc/docker/certs.d'\r\n`,
    `version = 3\n[plugins."io.containerd.cri.v1.images"]\nregistry.${path}\n`,
    `version = 2\n${old}\n${path}\n[other]\nversion = 3\n`,
    `[plugins.cri.registry]\n${path}\n`,
  ])
    expect([set, await told(set)]).toEqual([set, []]);
  for (const unset of [
    `${since3}\n# ${path}\nconfig_path = ""`,
    `${since3}\n#${path}\n`,
    `#${since3}\n${path}\n`,
    `[x]\n${path}\n`,
    `${old}\n${path}\n`,
    `${since3}\n[[other]]\n${path}\n`,
    `${since3}\nconfig_path = "" # ${path}\n`,
    `${since3}\nconfig_path = "/etc/containerd/certs.d.old"\n`,
    `${since3}\nx = '${path}'\n`,
  ])
    expect([unset, await told(`version = 3\n${unset}`)]).toEqual([unset, [since3]]);
});

test('an authority that somebody put there stays, and ours is beside it', async () => {
  const own = join(workspace.path, 'own.crt');
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${own}.key`];
  await run('openssl', ['req', '-x509', ...kind, '-subj', '/CN=Our own CA', '-out', own]);
  const foreign = await readFile(own, 'utf8');
  const folders = everywhere.map((folder) => `${folder}/certs.d/${host}`);
  const root = await machine(...folders);
  for (const folder of folders) await writeFile(`${root}${folder}/ca.crt`, foreign);
  const { code, out } = await ask({ root, fingerprint });
  expect([code, out]).toEqual([0, expect.stringContaining(`${folders[0]}/ca.crt is somebody’s own`)]);
  for (const folder of folders) {
    expect(await readFile(`${root}${folder}/ca.crt`, 'utf8')).toBe(foreign);
    const pem = await readFile(`${root}${folder}/entrepot.crt`);
    expect(new X509Certificate(pem).fingerprint256).toBe(fingerprint);
  }
  expect(await readFile(`${root}${folders[2]}/hosts.toml`, 'utf8')).toContain('/entrepot.crt"');
  const list = ['list-tags', '--cert-dir', `${root}${folders[1]}`, `docker://${host}/none`];
  expect(run('skopeo', list)).rejects.toThrow('404');
  expect((await ask({ root, remove: true })).code).toBe(0);
  for (const folder of folders) {
    expect(await readFile(`${root}${folder}/ca.crt`, 'utf8')).toBe(foreign);
    expect(existsSync(`${root}${folder}/entrepot.crt`)).toBe(false);
  }
  // What curl put there by hand is ours; with somebody’s own behind it, it is not.
  const pem = await readFile(`${registry.dataDirectory}/_entrepot/tls/root.crt`, 'utf8');
  await writeFile(`${root}${folders[0]}/ca.crt`, `${pem}${foreign}`);
  await writeFile(`${root}${folders[1]}/ca.crt`, pem);
  expect((await ask({ root, fingerprint })).out).toContain(`docker: ${folders[0]}/ca.crt has it already`);
  await ask({ root, remove: true });
  expect(folders.map((folder) => existsSync(`${root}${folder}/ca.crt`))).toEqual([true, false, true]);
});

test('what a line of the card put there is replaced where it is', async () => {
  const root = await machine(`/etc/docker/certs.d/${host}`);
  const pem = await readFile(`${registry.dataDirectory}/_entrepot/tls/root.crt`, 'utf8');
  await writeFile(`${root}/etc/docker/certs.d/${host}/entrepot.crt`, pem);
  const { out } = await ask({ root, fingerprint });
  expect(out).toBe(
    `docker: write /etc/docker/certs.d/${host}/entrepot.crt\n${host} is trusted. docker login ${host}\n`,
  );
  expect(await readdir(`${root}/etc/docker/certs.d/${host}`)).toEqual(['entrepot.crt']);
});

test('Fedora’s system keeps it in a place of its own', async () => {
  const root = await machine('/usr/bin/update-ca-trust');
  const { out } = await ask({ root, fingerprint });
  expect(out).toContain('run /usr/bin/update-ca-trust');
  const file = `/etc/pki/ca-trust/source/anchors/entrepot-${host.replace(':', '-')}.crt`;
  expect(new X509Certificate(await readFile(root + file)).fingerprint256).toBe(fingerprint);
  await ask({ root, remove: true });
  expect(existsSync(root + file)).toBe(false);
});

test('elsewhere it tells what to do, and what undoes it', async () => {
  const root = await machine();
  const file = `entrepot-${host.replace(':', '-')}.crt`;
  const add = await ask({ root, platform: 'darwin', fingerprint });
  expect([add.code, add.out]).toEqual([0, expect.stringContaining(`System.keychain ${file}\n`)]);
  expect(new X509Certificate(await readFile(`${root}/${file}`)).fingerprint256).toBe(fingerprint);
  const told = await ask({ root, platform: 'win32', fingerprint, print: true });
  expect(told.out).toContain(`curl -ko ${file} https://${host}/root-ca.crt`);
  expect(told.out).toContain(`findstr ${fingerprint.replaceAll(':', '').toLowerCase()}`);
  const mac = await ask({ root, platform: 'darwin', fingerprint, print: true });
  expect(mac.out).toContain(`grep -q =${fingerprint} && echo "$c" > ${file}`);
  const undo = await ask({ root, platform: 'darwin', remove: true });
  expect(undo.out).toContain(`security remove-trusted-cert -d ${file}`);
  expect(undo.out).not.toContain('add-trusted-cert');
});

describe('the card’s lines, as they are pasted', () => {
  const kinds = ['docker', 'podman', 'containerd', 'Debian', 'Fedora', 'macOS'];
  // Its clients look there only when they are told to.
  const containerd =
    /^trusted, .*ctr images pull --hosts-dir .*\/etc\/containerd\/certs\.d.*config_path = "\/etc\/containerd\/certs\.d"/;
  const programs = ['update-ca-certificates', 'update-ca-trust', 'security'];

  /** Runs the line of a client by a shell whose `/etc` and `/usr/local` are in `root`. */
  async function paste(shell: string, kind: string, root: string, place: string, expected: string) {
    const config = await loaded('version: 0.1\nstorage: inmemory\n');
    const line = trustLines(config, place, expected).find((one) => one.trim().startsWith(`${kind} `)) ?? '';
    const script = line
      .trim()
      .slice(kind.length)
      .replaceAll(/ (\/etc|\/usr\/local)\//g, ` ${root}$1/`);
    const bin = join(root, 'bin');
    await mkdir(bin, { recursive: true });
    await writeFile(join(bin, 'sudo'), '#!/bin/sh\nexec "$@"\n', { mode: 0o755 });
    for (const program of programs)
      await writeFile(join(bin, program), `#!/bin/sh\necho ${program} >> ${root}/ran\n`, { mode: 0o755 });
    const { stdout, stderr, code } = await run(
      'env',
      ['-C', root, `PATH=${bin}:${process.env['PATH']}`, shell, '-c', script],
      { mayFail: true },
    );
    const files = (await readdir(root, { recursive: true })).filter((name) => name.endsWith('.crt'));
    const ran = await readFile(`${root}/ran`, 'utf8').catch(() => '');
    return { stdout, stderr, code, ran: ran.trim(), files: files.map((name) => join(root, name)) };
  }

  test.each(['bash', 'dash'])('%s installs the right one, and no other', async (shell) => {
    const pem = await readFile(`${registry.dataDirectory}/_entrepot/tls/root.crt`, 'utf8');
    const wrong = fingerprint.startsWith('00') ? `11${fingerprint.slice(2)}` : `00${fingerprint.slice(2)}`;
    for (const kind of kinds) {
      const right = await paste(shell, kind, await machine(), host, fingerprint);
      const said = kind === 'containerd' ? containerd : /^trusted\n$/;
      expect([kind, right.code, right.stdout, right.stderr]).toEqual([
        kind,
        0,
        expect.stringMatching(said),
        '',
      ]);
      expect(right.files).toHaveLength(1);
      expect(await readFile(right.files[0] ?? '', 'utf8')).toBe(pem);
      const command = { Debian: programs[0], Fedora: programs[1], macOS: programs[2] }[kind];
      expect(right.ran).toBe(command ?? '');
      const refused = await paste(shell, kind, await machine(), host, wrong);
      expect([refused.code, refused.stdout, refused.stderr]).toEqual([
        1,
        '',
        expect.stringMatching(/^NOT TRUSTED/),
      ]);
      expect([...refused.files, refused.ran]).toEqual(['']);
    }
    const nobody = await paste(shell, 'docker', await machine(), 'localhost:1', fingerprint);
    expect([nobody.code, nobody.files, nobody.stderr]).toEqual([
      1,
      [],
      expect.stringContaining('NOT TRUSTED'),
    ]);
  });

  test('of an answer with another one behind it that one is not installed', async () => {
    const own = join(workspace.path, 'behind.crt');
    const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${own}.key`];
    await run('openssl', ['req', '-x509', ...kind, '-subj', '/CN=Behind', '-out', own]);
    const pem = await readFile(`${registry.dataDirectory}/_entrepot/tls/root.crt`, 'utf8');
    const foreign = await readFile(own, 'utf8');
    const server = createTlsServer({ cert: foreign, key: await readFile(`${own}.key`) }, (_asked, answer) =>
      answer.end(`${pem}${foreign}`),
    );
    const port = await new Promise<number>((resolve) =>
      server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)),
    );
    const { files } = await paste('dash', 'docker', await machine(), `127.0.0.1:${port}`, fingerprint);
    server.close();
    expect(await readFile(files[0] ?? '', 'utf8')).toBe(pem);
  });
});
