/**
 * Registries on one link as their neighbours see them: avahi, nss-mdns, curl, openssl, and `entrepot discover`, each on a
 * machine of its own (`link-lab.ts`). The tests follow one another.
 */
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { writeFile } from 'node:fs/promises';
import type { Daemon } from '../harness/daemon.ts';
import { entrepotCommand } from '../harness/entrepot.ts';
import type { RunOptions } from '../harness/tools.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';
import { eventually, untilLogged } from '../harness/waiting.ts';
import { createLinkLab, type LinkLab } from './link-lab.ts';

const ADDRESSES = { one: ['10.99.0.1/24', 'fd99::1/64'], two: ['10.99.0.2/24', 'fd99::2/64'] };
type Machine = keyof typeof ADDRESSES;

let workspace: Workspace;
let lab: LinkLab;
const servers = new Map<Machine, Daemon>();
let browsing: Daemon;
let entrepot: readonly string[];

const client = async (command: string | readonly string[], options: RunOptions = { mayFail: true }) =>
  (await lab.run('client', typeof command === 'string' ? command.split(' ') : command, options)).stdout;

async function serve(machine: Machine, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const folder = await workspace.folder(machine);
  const variables = Object.entries({ REGISTRY_HTTP_WORKERS: '2', ...env }).map(
    ([name, value]) => `${name}=${value}`,
  );
  const server = await lab.start(
    machine,
    ['env', '-C', folder, ...variables, ...entrepot, 'serve', ...args],
    {
      ready: () => Promise.resolve(true),
    },
  );
  servers.set(machine, server);
  return server;
}

const logs = (machine: Machine) => servers.get(machine)?.logs() ?? '';
/** The name that a registry has settled on. */
const nameOf = (machine: Machine) => /announced as (\S+)\.local"/.exec(logs(machine))?.[1] ?? '';
const byName = (name: string): Machine => (nameOf('one') === name ? 'one' : 'two');

/** By the name, TLS, and its own authority alone, fetched by plain HTTP; `flags` of curl. */
async function catalogOf(name: string, ...flags: readonly string[]): Promise<string> {
  const ca = workspace.join(`${name}.crt`);
  await client(['curl', '-sSf', ...flags, '-o', ca, `http://${name}.local:5080/root-ca.crt`]);
  return client(['curl', '-sS', ...flags, '--cacert', ca, `https://${name}.local:5000/v2/_catalog`]);
}

beforeAll(async () => {
  workspace = await createWorkspace('neighbours');
  lab = await createLinkLab(workspace, { ...ADDRESSES, client: ['10.99.0.3/24', 'fd99::3/64'] });
  const { command, args } = await entrepotCommand();
  entrepot = [command, ...args];
  // Both at once: they ask for the name at the same time.
  await Promise.all([serve('one', ['--lan']), serve('two', ['--lan']), lab.startAvahi('client')]);
  browsing = await lab.start('client', ['avahi-browse', '-pr', '_docker-registry._tcp'], {
    ready: () => Promise.resolve(true),
  });
}, 300_000);
afterAll(async () => {
  await lab.dispose();
  await workspace.remove();
});

test('two that are switched on together settle their names, and tell them', async () => {
  const names = () => Promise.resolve([nameOf('one'), nameOf('two')].sort());
  expect(await eventually('both names', names, ([first]) => first !== '')).toEqual([
    'registry',
    'registry-2',
  ]);
  for (const machine of ['one', 'two'] as const) {
    expect(logs(machine)).toContain(`entrepot trust ${nameOf(machine)}.local:5000`);
    // Of the card everything works without the program.
    expect(logs(machine)).toContain(
      `docker      c=$(curl -fsSk https://${nameOf(machine)}.local:5000/root-ca.crt | openssl x509)`,
    );
  }
}, 300_000);

test.each(['registry', 'registry-2'])(
  '%s.local is resolved, and has a certificate for that name',
  async (name) => {
    const number = byName(name) === 'one' ? 1 : 2;
    const host = `${name}.local`;
    expect(await client(`avahi-resolve -4 -n ${host}`)).toBe(`${host}\t10.99.0.${number}\n`);
    expect(await client(`avahi-resolve -6 -n ${host}`)).toMatch(/\t(fd99::|fe80::)/);
    expect(await client(`getent ahostsv4 ${host}`)).toContain(`10.99.0.${number} `);
    expect(await client(`getent hosts ${host}`)).toContain(host);
    // The certificate of the one that had to give way is made anew for its name, and taken up.
    // Each worker takes it up by itself: the next connection may meet one that has not yet.
    for (const flags of [[], ['-4'], ['-6']]) {
      const catalog = () => catalogOf(name, ...flags);
      expect(await eventually('a certificate for the name', catalog, (body) => body !== '')).toBe(
        '{"repositories":[]}',
      );
    }
  },
  300_000,
);

test('avahi-browse shows both as services, on IPv4 and on IPv6, with what they say', async () => {
  const seen = await eventually(
    'both',
    () => client('avahi-browse -prt _docker-registry._tcp'),
    (out) => out.split('\n').filter((line) => line.startsWith('=')).length >= 4,
  );
  for (const name of ['registry', 'registry-2']) {
    for (const family of ['IPv4', 'IPv6']) {
      const line = seen.split('\n').find((each) => each.startsWith(`=;eth0;${family};${name};`)) ?? '';
      expect(line).toContain(`;_docker-registry._tcp;local;${name}.local;`);
      expect(line).toMatch(/;5000;/);
      for (const told of ['"path=/v2/"', '"tls=yes"', '"version=']) expect(line).toContain(told);
    }
  }
  expect(await client('avahi-browse -apt')).toContain(';registry;Secure Web Site;local');
}, 300_000);

test('entrepot discover lists both, and what to run next', async () => {
  const both = (out: string) => out.includes('registry.local') && out.includes('registry-2.local');
  const [text, json] = await Promise.all([
    eventually('a table', () => client([...entrepot, 'discover']), both),
    eventually('a list', () => client([...entrepot, 'discover', '--json']), both),
  ]);
  for (const name of ['registry', 'registry-2']) {
    const number = byName(name) === 'one' ? 1 : 2;
    expect(text).toMatch(
      new RegExp(`^${name} +${name}\\.local:5000 +yes +\\d+\\.\\d+\\.\\d+ .*10\\.99\\.0\\.${number}`, 'm'),
    );
    expect(text).toContain(`entrepot trust ${name}.local:5000 && docker login ${name}.local:5000`);
    expect(JSON.parse(json)).toContainEqual({
      name,
      host: `${name}.local`,
      port: 5000,
      addresses: [`10.99.0.${number}`, `fd99::${number}`, expect.stringMatching(/^fe80::.*%eth0$/)],
      tls: true,
      version: expect.any(String),
      path: '/v2/',
    });
  }
}, 300_000);

test('changed addresses are announced and certified while it serves, also where only IPv6 is left', async () => {
  const machine = byName('registry');
  const number = machine === 'one' ? 1 : 2;
  const ip = (...args: readonly string[]) => lab.run(machine, ['ip', 'addr', ...args, 'dev', 'eth0']);
  const known = (flag: string) => () => client(`avahi-resolve ${flag} -n registry.local`);
  await ip('add', '10.99.0.77/24');
  await ip('del', `10.99.0.${number}/24`);
  await ip('add', 'fd99::77/64');
  await eventually('the new address', known('-4'), (out) => out === 'registry.local\t10.99.0.77\n');
  for (const address of ['10.99.0.77', 'fd99::77']) {
    await eventually(
      `a certificate for ${address}`,
      async () => {
        const place = address.includes(':') ? `[${address}]:5000` : `${address}:5000`;
        const asked = `openssl s_client -brief -verify_return_error -verify_ip ${address} -connect ${place} -CAfile`;
        const command = [...asked.split(' '), workspace.join('registry.crt')];
        const { stderr, code } = await lab.run('client', command, { mayFail: true, input: '' });
        return `${code} ${stderr}`;
      },
      (out) => out.startsWith('0 ') && out.includes('Verification: OK'),
    );
  }
  await ip('del', '10.99.0.77/24');
  await eventually(
    'no IPv4',
    () => client([...entrepot, 'discover', '--json', '--timeout', '0.5']),
    (out) => /"fd99::77"/.test(out) && !/"10\.99\.0\.77"/.test(out),
  );
  expect(await catalogOf('registry', '-6')).toBe('{"repositories":[]}');
  // It comes back with another one, as after another network's DHCP.
  await lab.run(machine, ['ip', 'link', 'set', 'eth0', 'down']);
  await lab.run(machine, ['ip', 'link', 'set', 'eth0', 'up']);
  await ip('add', '10.99.0.78/24');
  await eventually('the address after that', known('-4'), (out) => out === 'registry.local\t10.99.0.78\n');
  expect(servers.get(machine)?.exitCode()).toBeUndefined();
}, 300_000);

test('a goodbye on SIGTERM; the old name after it; and by variables a name of one’s own', async () => {
  const machine = byName('registry-2');
  expect(browsing.logs()).not.toContain('-;eth0;IPv4;registry-2;');
  expect(await servers.get(machine)?.stop('SIGTERM')).toBe(0);
  await eventually(
    'the goodbye',
    () => Promise.resolve(browsing.logs()),
    (out) => ['IPv4', 'IPv6'].every((family) => out.includes(`-;eth0;${family};registry-2;`)),
  );
  // The other one goes away: what had to give way to it has its own name the next time, nevertheless.
  const other = machine === 'one' ? 'two' : 'one';
  expect(await servers.get(other)?.stop('SIGTERM')).toBe(0);
  const again = serve(machine, ['--lan']);
  const file = workspace.join(other, 'config.yml');
  await writeFile(file, 'version: 0.1\nstorage: {filesystem: {rootdirectory: ./data}}\n');
  await serve(other, [file], {
    REGISTRY_HTTP_ADDR: ':5000',
    REGISTRY_HTTP_TLS_AUTO: 'true',
    REGISTRY_HTTP_TLS_PLAINADDR: ':5080',
    REGISTRY_MDNS_ENABLED: 'true',
    REGISTRY_MDNS_NAME: 'depot',
  });
  await eventually(
    'its own name',
    () => Promise.resolve(nameOf(other)),
    (name) => name === 'depot',
  );
  expect(await catalogOf('depot')).toBe('{"repositories":[]}');
  await eventually(
    'its old name',
    async () => (await again).logs(),
    (out) => out.includes('announced as'),
  );
  await untilLogged(await again, 'announced as registry-2.local');
}, 300_000);
