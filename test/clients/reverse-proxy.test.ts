/** The examples of docs/reverse-proxy.md, as they stand there: only addresses, and where files lie, are others. */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { copyFile, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { hashSync } from 'bcryptjs';
import { type Daemon, startDaemon } from '../harness/daemon.ts';
import { pause, untilLogged } from '../harness/waiting.ts';
import { freePort } from '../harness/ports.ts';
import { entrepotCommand, type RunningRegistry, startEntrepot } from '../harness/entrepot.ts';
import { layeredImage } from '../harness/images.ts';
import { type LayoutImage, readLayoutImage } from '../harness/oci-layout.ts';
import { requireTool, run } from '../harness/tools.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';

const PASSWORD = 'a password';
/** More than nginx takes unless told otherwise. */
const LAYER_BYTES = 3 * 1024 * 1024;
const SETTINGS = {
  users: { alice: hashSync(PASSWORD, 4) },
  access: { pull: 'anonymous', push: 'users' },
  log: { level: 'info', accesslog: { disabled: false } },
};

let workspace: Workspace;
let registry: RunningRegistry;
let image: LayoutImage;
let page: string;
const daemons: Daemon[] = [];

beforeAll(async () => {
  for (const tool of ['nginx', 'haproxy', 'caddy', 'skopeo', 'curl', 'openssl']) requireTool(tool);
  workspace = await createWorkspace('reverse-proxy');
  page = await readFile(join(import.meta.dirname, '../../docs/reverse-proxy.md'), 'utf8');
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
  const files = ['-keyout', workspace.join('tls.key'), '-out', workspace.join('tls.pem')];
  await run('openssl', ['req', '-x509', ...kind, ...names, ...files]);
  const both = await Promise.all(
    ['tls.pem', 'tls.key'].map((name) => readFile(workspace.join(name), 'utf8')),
  );
  await writeFile(workspace.join('both.pem'), both.join(''));
  await workspace.folder('ca');
  await copyFile(workspace.join('tls.pem'), workspace.join('ca', 'ca.crt'));
  image = await layeredImage(workspace.join('image'), { layerBytes: LAYER_BYTES });
  registry = await startEntrepot({
    workers: 2,
    config: { ...SETTINGS, http: { trustedproxies: ['127.0.0.1'] } },
  });
}, 300_000);

afterAll(async () => {
  await Promise.all(daemons.map((daemon) => daemon.stop()));
  await registry.dispose();
  await workspace.remove();
});

/** The page's example in that language. Each of `changes` must stand in it. */
function example(language: string, changes: Readonly<Record<string, string>>): string {
  let text = new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, 's').exec(page)?.[1] ?? '';
  for (const [from, to] of Object.entries(changes)) {
    if (!text.includes(from))
      throw new Error(`docs/reverse-proxy.md: the example for ${language} has no ${from}`);
    text = text.replaceAll(from, to);
  }
  return text;
}

/** Whether something that is a registry answers there. */
async function answers(port: number): Promise<boolean> {
  const asked = await run(
    'curl',
    ['-sk', '-o', '/dev/null', '-w', '%{http_code}', `https://localhost:${port}/v2/`],
    {
      mayFail: true,
    },
  );
  return asked.stdout === '401';
}

async function startNginx(upstream: string): Promise<number> {
  const port = await freePort();
  const folder = await workspace.folder(`nginx-${port}`);
  const server = example('nginx', {
    'listen 443 ssl': `listen 127.0.0.1:${port} ssl`,
    'server 127.0.0.1:5000': `server ${upstream}`,
    'registry.example;': 'localhost;',
    '/etc/ssl/registry.example.pem': workspace.join('tls.pem'),
    '/etc/ssl/registry.example.key': workspace.join('tls.key'),
  });
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const file = join(folder, 'nginx.conf');
  await writeFile(
    file,
    `${process.getuid?.() === 0 ? 'user root;' : ''} daemon off; pid ${folder}/pid; error_log stderr;
events {}
http {
access_log off;
${temporary.map((kind) => `${kind}_temp_path ${folder}/${kind};`).join('\n')}
${server}
}
`,
  );
  const ready = () => run('curl', ['-sk', `https://localhost:${port}/`]).then(() => true);
  daemons.push(await startDaemon(requireTool('nginx'), ['-e', 'stderr', '-c', file], { ready }));
  return port;
}

async function startHaproxy(): Promise<number> {
  const port = await freePort();
  const file = workspace.join('haproxy.cfg');
  const text = example('haproxy', {
    'bind :443': `bind 127.0.0.1:${port}`,
    '/etc/haproxy/registry.example.pem': workspace.join('both.pem'),
    '127.0.0.1:5000': registry.host,
  });
  await writeFile(file, text);
  daemons.push(
    await startDaemon(requireTool('haproxy'), ['-db', '-f', file], { ready: () => answers(port) }),
  );
  return port;
}

async function startCaddy(): Promise<number> {
  const port = await freePort();
  const file = workspace.join('Caddyfile');
  const text = example('caddy', {
    'registry.example {': `https://localhost:${port} {\n\tbind 127.0.0.1\n\ttls ${workspace.join('tls.pem')} ${workspace.join('tls.key')}`,
    '127.0.0.1:5000': registry.host,
  });
  await writeFile(file, `{\n\tadmin off\n\tauto_https disable_redirects\n}\n${text}`);
  const env = { HOME: workspace.path, XDG_DATA_HOME: workspace.path, XDG_CONFIG_HOME: workspace.path };
  const args = ['run', '--config', file, '--adapter', 'caddyfile'];
  daemons.push(await startDaemon(requireTool('caddy'), args, { env, ready: () => answers(port) }));
  return port;
}

const PROXIES: readonly (readonly [name: string, start: () => Promise<number>])[] = [
  ['nginx', () => startNginx(registry.host)],
  ['haproxy', startHaproxy],
  ['caddy', startCaddy],
];

interface Answer {
  readonly status: number;
  /** With names in lower case. */
  readonly headers: Readonly<Record<string, readonly string[]>>;
}

/** What a client at another address gets. */
async function ask(port: number, path: string, ...more: readonly string[]): Promise<Answer> {
  const args = ['-sS', '--interface', '127.0.0.9', '--cacert', workspace.join('tls.pem'), '-o', '/dev/null'];
  const url = `https://localhost:${port}${path}`;
  const { stdout } = await run('curl', [...args, ...more, '-w', '%{http_code} %{header_json}', url]);
  return { status: Number(stdout.slice(0, 3)), headers: JSON.parse(stdout.slice(4)) as Answer['headers'] };
}

async function skopeo(...args: readonly string[]): Promise<void> {
  const env = { HOME: workspace.path, XDG_DATA_HOME: workspace.path, _CONTAINERS_ROOTLESS_UID: '4711' };
  await run('skopeo', ['--insecure-policy', 'copy', ...args], { env });
}

/** Sends half of a blob, and returns when the registry has more of it than any buffer on the way holds. */
async function sendHalf(port: number, name: string): Promise<void> {
  const headers = ['-X', 'POST', '-u', `alice:${PASSWORD}`];
  const token = await run('curl', [
    '-sS',
    '--cacert',
    workspace.join('tls.pem'),
    ...headers.slice(2),
    `https://localhost:${port}/v2/token?service=entrepot&scope=repository:${name}:pull,push`,
  ]);
  const bearer = `Authorization: Bearer ${(JSON.parse(token.stdout) as { token: string }).token}`;
  const begun = await ask(port, `/v2/${name}/blobs/uploads/`, '-X', 'POST', '-H', bearer);
  const location = begun.headers['location']?.[0] ?? '';
  // Relative, so that it fits each name by which clients come.
  expect(location).toStartWith(`/v2/${name}/blobs/uploads/`);
  const socket = connect({
    port,
    host: 'localhost',
    ca: await readFile(workspace.join('tls.pem')),
    ALPNProtocols: [],
  });
  socket.on('error', () => undefined);
  const head = [`PATCH ${location} HTTP/1.1`, `Host: localhost:${port}`, bearer];
  socket.write(
    `${head.join('\r\n')}\r\nContent-Type: application/octet-stream\r\nContent-Length: 16000000\r\n\r\n`,
  );
  socket.write(Buffer.alloc(8_000_000));
  const folder = join(registry.dataDirectory, 'docker/registry/v2/repositories', name, '_uploads');
  const size = async (): Promise<number> => {
    const files = await readdir(folder, { recursive: true });
    const sizes = await Promise.all(files.map(async (file) => (await stat(join(folder, file))).size));
    return Math.max(0, ...sizes);
  };
  while ((await size().catch(() => 0)) < 4_000_000) await pause(50);
  socket.destroy();
}

test.each(PROXIES)(
  '%s: push and pull, and the registry knows for whom',
  async (name, start) => {
    const port = await start();
    const certificates = workspace.join('ca');
    const reference = `docker://localhost:${port}/${name}/app:1`;
    await skopeo(
      '--dest-cert-dir',
      certificates,
      '--dest-creds',
      `alice:${PASSWORD}`,
      image.reference,
      reference,
    );
    const copy = workspace.join(`${name}-copy`);
    await skopeo('--src-cert-dir', certificates, '--src-no-creds', reference, `oci:${copy}:back`);
    expect((await readLayoutImage(copy, 'back')).digest).toBe(image.digest);
    await sendHalf(port, `${name}/half`);

    // Who is refused learns where the token service is.
    const refused = await ask(port, `/v2/${name}/app/blobs/uploads/`, '-X', 'POST');
    expect([refused.status, refused.headers['www-authenticate']?.[0]]).toEqual([
      401,
      expect.stringContaining(`realm="https://localhost:${port}/v2/token"`),
    ]);
    const target = `/v2/${name}/app/tags/list`;
    const from = async (path: string, ...headers: readonly string[]) => {
      const { status } = await ask(port, path, ...headers.flatMap((header) => ['-H', header]));
      const line = () =>
        registry
          .logs()
          .split('\n')
          .find((text) => text.includes(path)) ?? '';
      expect(status).toBe(200);
      while (line() === '') await pause(20);
      return line().split(' ')[0];
    };
    expect(await from(`${target}?n=1`)).toBe('127.0.0.9');
    // Whatever the client says of itself.
    const forged = ['X-Forwarded-For: 6.6.6.6', 'X-Forwarded-Proto: http', 'X-Forwarded-Host: evil.example'];
    expect(await from(`${target}?n=2`, ...forged, 'Forwarded: for=6.6.6.6;host=evil')).toBe('127.0.0.9');
    const evil = await ask(
      port,
      '/v2/evil/blobs/uploads/',
      '-X',
      'POST',
      ...forged.flatMap((one) => ['-H', one]),
    );
    expect(evil.headers['www-authenticate']?.[0]).toContain(`realm="https://localhost:${port}/v2/token"`);
    // Logins are written down with the client's address.
    await ask(port, '/v2/token?service=entrepot', '-u', `${name}:wrong`);
    const audit = () =>
      registry
        .logs()
        .split('\n')
        .find((line) => line.includes('login') && line.includes(name));
    while (audit() === undefined) await pause(20);
    expect(audit()).toContain('127.0.0.9');
  },
  300_000,
);

test('past the proxies, nobody is believed', async () => {
  const path = '/v2/nginx/app/tags/list?n=3';
  const args = ['-sS', '--interface', '127.0.0.9', '-H', 'X-Forwarded-For: 6.6.6.6', '-o', '/dev/null'];
  await run('curl', [...args, `${registry.url}${path}`]);
  const line = () =>
    registry
      .logs()
      .split('\n')
      .find((text) => text.includes(path));
  while (line() === undefined) await pause(20);
  expect(line()).toStartWith('127.0.0.9 ');
  await untilLogged(registry, '127.0.0.9 says for whom it asks');
});

test('a proxy that comes by a unix socket', async () => {
  const socket = workspace.join('entrepot.sock');
  const port = await startNginx(`unix:${socket}`);
  const file = workspace.join('unix.yml');
  const http = { addr: socket, net: 'unix', trustedproxies: ['unix'] };
  await writeFile(file, JSON.stringify({ version: 0.1, storage: { inmemory: {} }, ...SETTINGS, http }));
  const { command, args } = await entrepotCommand();
  const daemon = await startDaemon(command, [...args, 'serve', file], { ready: () => answers(port) });
  daemons.push(daemon);
  expect((await ask(port, '/v2/a/tags/list?n=1')).status).toBe(404);
  const line = () =>
    daemon
      .logs()
      .split('\n')
      .find((text) => text.includes('/v2/a/tags/list'));
  while (line() === undefined) await pause(20);
  expect(line()).toStartWith('127.0.0.9 ');
}, 300_000);
