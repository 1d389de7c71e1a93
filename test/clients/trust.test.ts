/** What real clients make of a registry with an authority of its own, before and after `entrepot trust`. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { X509Certificate } from 'node:crypto';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { type Daemon, startDaemon } from '../harness/daemon.ts';
import { entrepotCommand } from '../harness/entrepot.ts';
import { busyboxImage } from '../harness/images.ts';
import { nodeBinary } from '../harness/node-binary.ts';
import { type Finished, requireTool, run, type RunOptions } from '../harness/tools.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';
import { type Machine, openMachine } from './machine.ts';

/** The network is the machine's own, so that the ports are free. */
const HOST = 'registry.test:5443';
const IMAGE = `${HOST}/lib/app:1`;
const MIRROR = '127.0.0.1:5001';

let workspace: Workspace;
let machine: Machine;
let fingerprint: string;
let env: Record<string, string>;
const daemons: Daemon[] = [];

/** Runs a command on the machine. */
async function on(command: string, args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  const [nsenter, ...where] = machine.enter;
  const path = command.includes('/') ? command : requireTool(command);
  return await run(nsenter, [...where, path, ...args], {
    ...options,
    env: { ...env, ...options.env },
  });
}

async function start(command: string, args: readonly string[], ready: () => Promise<boolean>): Promise<void> {
  const [nsenter, ...where] = machine.enter;
  const path = command.includes('/') ? command : requireTool(command);
  daemons.push(await startDaemon(nsenter, [...where, path, ...args], { env, ready }));
}

const answers = async (...args: string[]) =>
  (await on('curl', ['-s', '-o', '/dev/null', ...args], { mayFail: true })).code === 0;

async function startRegistries(): Promise<void> {
  const folders = { data: workspace.join('data'), mirror: workspace.join('mirror') };
  const tls = { auto: true, names: ['registry.test'] };
  const config = {
    version: 0.1,
    http: { addr: ':5443', tls },
    storage: { filesystem: { rootdirectory: folders.data } },
  };
  await writeFile(workspace.join('config.yml'), JSON.stringify(config));
  const { command, args } = await entrepotCommand();
  await start(command, [...args, 'serve', workspace.join('config.yml')], () =>
    answers('-k', `https://${HOST}/v2/`),
  );
  await writeFile(
    workspace.join('mirror.yml'),
    JSON.stringify({
      version: 0.1,
      http: { addr: MIRROR },
      storage: { filesystem: { rootdirectory: folders.mirror } },
      proxy: { remoteurl: `https://${HOST}` },
    }),
  );
}

async function startDaemons(): Promise<void> {
  const dockerd = await workspace.folder('dockerd');
  env['DOCKER_HOST'] = `unix://${dockerd}/docker.sock`;
  await writeFile(`${dockerd}/daemon.json`, '{"max-download-attempts": 1}');
  const place = ['--config-file', `${dockerd}/daemon.json`, '--data-root', `${dockerd}/data`];
  const network = ['--bridge', 'none', '--iptables=false', '--ip6tables=false'];
  const files = ['--exec-root', `${dockerd}/exec`, '--pidfile', `${dockerd}/pid`];
  await start(
    'dockerd',
    [...place, ...files, '--host', env['DOCKER_HOST'], ...network],
    async () => (await on('docker', ['version'], { mayFail: true })).code === 0,
  );
  const containerd = await workspace.folder('containerd');
  const socket = `${containerd}/containerd.sock`;
  const config = [
    'version = 2',
    `root = "${containerd}/root"`,
    `state = "${containerd}/state"`,
    'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
    `[grpc]\n  address = "${socket}"`,
    `[ttrpc]\n  address = "${socket}.ttrpc"`,
  ];
  await writeFile(`${containerd}/config.toml`, config.join('\n'));
  await start('containerd', ['--config', `${containerd}/config.toml`], async () =>
    (await stat(socket)).isSocket(),
  );
}

/** Each pulls from the registry as on a machine that has nothing yet. */
const OWN_STORE = {
  async docker() {
    await on('docker', ['rmi', '--force', IMAGE], { mayFail: true });
    return await on('docker', ['pull', IMAGE], { mayFail: true });
  },
  async containerd() {
    const ctr = async (...args: string[]) =>
      await on('ctr', ['--address', workspace.join('containerd/containerd.sock'), ...args], {
        mayFail: true,
      });
    await ctr('images', 'rm', '--sync', IMAGE);
    return await ctr('images', 'pull', '--hosts-dir', '/etc/containerd/certs.d', IMAGE);
  },
  podman: async () => await podmanLike('podman', ['--tmpdir', workspace.join('podman-tmp')]),
  buildah: async () => await podmanLike('buildah', []),
  skopeo: async () => await on('skopeo', ['inspect', `docker://${IMAGE}`], { mayFail: true }),
} satisfies Record<string, () => Promise<Finished>>;

const SYSTEM_STORE = {
  curl: async () => await on('curl', ['-sSf', `https://${HOST}/v2/`], { mayFail: true }),
  async node() {
    const program = `fetch('https://${HOST}/v2/').then(({status})=>process.exit(status-200),(e)=>{console.error(e.cause.code);process.exit(1)})`;
    return await on(await nodeBinary(24), ['--use-openssl-ca', '-e', program], {
      mayFail: true,
      env: { SSL_CERT_FILE: '/etc/ssl/certs/ca-certificates.crt' },
    });
  },
  /** A Go program that knows no other authorities than the system's, and does not start without its upstream. */
  async go() {
    try {
      await start('docker-registry', ['serve', workspace.join('mirror.yml')], () =>
        answers(`http://${MIRROR}/v2/`),
      );
    } catch (error) {
      return { code: 1, stdout: '', stderr: String(error) };
    }
    const mirror = daemons.pop();
    const accept = ['-H', 'Accept: application/vnd.oci.image.manifest.v1+json'];
    const url = `http://${MIRROR}/v2/lib/app/manifests/1`;
    const pulled = await on('curl', ['-sSf', ...accept, url], { mayFail: true });
    await mirror?.stop();
    return pulled;
  },
} satisfies Record<string, () => Promise<Finished>>;

let stores = 0;
async function podmanLike(program: 'podman' | 'buildah', more: readonly string[]): Promise<Finished> {
  const storage = workspace.join(`storage-${(stores += 1)}`);
  const place = ['--root', storage, '--runroot', `${storage}-run`, '--storage-driver', 'vfs', ...more];
  return await on(program, [...place, 'pull', IMAGE], { mayFail: true });
}

const REFUSAL = /certificate|SELF_SIGNED_CERT/i;

/** What each of them did: pull, refuse because of the certificate, or something that is no answer to the question. */
async function outcomes(
  clients: Readonly<Record<string, () => Promise<Finished>>>,
): Promise<Record<string, string>> {
  const told = Object.entries(clients).map(async ([name, attempt]) => {
    const { code, stdout, stderr } = await attempt();
    return [name, code === 0 ? 'pulls' : REFUSAL.test(stderr) ? 'refuses' : `${stdout}${stderr}`] as const;
  });
  return Object.fromEntries(await Promise.all(told));
}

const all = { ...OWN_STORE, ...SYSTEM_STORE };
const each = (clients: object, outcome: string) =>
  Object.fromEntries(Object.keys(clients).map((name) => [name, outcome]));

async function trust(...args: string[]): Promise<Finished> {
  const { command, args: before } = await entrepotCommand();
  return await on(command, [...before, 'trust', HOST, ...args]);
}

beforeAll(async () => {
  for (const tool of ['docker', 'ctr', 'podman', 'buildah', 'skopeo', 'docker-registry', 'curl', 'ip'])
    requireTool(tool);
  workspace = await createWorkspace('trusting');
  machine = await openMachine(workspace, 'registry.test');
  env = {
    HOME: await workspace.folder('home'),
    TMPDIR: await workspace.folder('tmp'),
    XDG_RUNTIME_DIR: await workspace.folder('run'),
    DOCKER_CONFIG: await workspace.folder('docker-client'),
  };
  await writeFile(workspace.join('docker-client/config.json'), '{}');
  const [image] = await Promise.all([
    busyboxImage(workspace.join('image')),
    startRegistries(),
    startDaemons(),
  ]);
  expect(image.digest).toStartWith('sha256:');
  const place = `docker://${IMAGE}`;
  await on('skopeo', [
    '--insecure-policy',
    'copy',
    '--dest-tls-verify=false',
    `oci:${workspace.join('image')}:latest`,
    place,
  ]);
  fingerprint = new X509Certificate(await readFile(workspace.join('data/_entrepot/tls/root.crt')))
    .fingerprint256;
}, 300_000);

afterAll(async () => {
  for (const daemon of daemons.reverse()) await daemon.stop();
  await machine.close();
  await workspace.remove();
}, 300_000);

test('clients refuse before, pull after, and refuse again', async () => {
  expect(await outcomes(all)).toEqual(each(all, 'refuses'));

  const { stdout } = await trust('--fingerprint', fingerprint);
  expect(stdout).toEndWith(`${HOST} is trusted. docker login ${HOST}\n`);
  expect(await outcomes(SYSTEM_STORE)).toEqual(each(SYSTEM_STORE, 'pulls'));

  // Go programs trust what the system trusts: without that it shows that their own folders do.
  await on('sh', ['-c', 'rm /usr/local/share/ca-certificates/entrepot-*; update-ca-certificates --fresh']);
  expect(await outcomes({ curl: SYSTEM_STORE.curl, ...OWN_STORE })).toEqual({
    curl: 'refuses',
    ...each(OWN_STORE, 'pulls'),
  });

  await trust('--fingerprint', fingerprint);
  expect(await outcomes({ curl: SYSTEM_STORE.curl })).toEqual({ curl: 'pulls' });
  await trust('--remove');
  expect(await outcomes(all)).toEqual(each(all, 'refuses'));
}, 300_000);
