/** Real clients and their logins: with an account, with a wrong password, with too few rights, and without any. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { hashSync } from 'bcryptjs';
import { busyboxImage } from '../harness/images.ts';
import type { LayoutImage } from '../harness/oci-layout.ts';
import { type Finished, requireTool } from '../harness/tools.ts';
import { untilLogged } from '../harness/waiting.ts';
import { type ClientSandbox, openClientSandbox } from './client-sandbox.ts';
import { type Containerd, startContainerd } from './containerd.ts';
import { type Dockerd, startDockerd } from './dockerd.ts';

const PASSWORD = 'correct horse';
const HASH = hashSync(PASSWORD, 10);

/** Alice may push to team and public, bob may only pull from team, and everybody from public. */
const RIGHTS = {
  users: { alice: HASH, bob: HASH },
  acl: [
    { account: 'alice', name: '*', actions: ['*'] },
    { account: 'bob', name: 'team/*', actions: ['pull'] },
    { anonymous: true, name: 'public/*', actions: ['pull'] },
  ],
};

let sandbox: ClientSandbox;
let busybox: LayoutImage;

beforeAll(async () => {
  for (const tool of ['skopeo', 'umoci', 'busybox', 'podman', 'buildah', 'docker', 'ctr']) requireTool(tool);
  sandbox = await openClientSandbox('login', { config: RIGHTS });
  busybox = await busyboxImage(sandbox.workspace.join('busybox'));
  for (const name of ['public/seed:1', 'team/seed:1']) {
    const to = ['--dest-creds', `alice:${PASSWORD}`, busybox.reference, `docker://${remote(name)}`];
    await sandbox.run('skopeo', ['--insecure-policy', 'copy', ...to]);
  }
}, 300_000);

afterAll(async () => {
  await sandbox.close();
}, 300_000);

const remote = (name: string) => `${sandbox.registry.host}/${name}`;

/** What one client can do, each in its own way. Each gives the finished command, whatever its exit code. */
interface Client {
  logIn(account: string, password: string): Promise<Finished>;
  logOut(): Promise<Finished>;
  push(name: string): Promise<Finished>;
  pull(name: string): Promise<Finished>;
}

function behaves(get: () => Client): void {
  test('without a login pulls what everybody may, and nothing else', async () => {
    const client = get();
    expect(await client.pull('public/seed:1')).toMatchObject({ code: 0 });
    expect((await client.pull('team/seed:1')).code).not.toBe(0);
    expect((await client.push('public/mine:1')).code).not.toBe(0);
  }, 300_000);

  test('is told that a password is wrong', async () => {
    expect((await get().logIn('alice', 'wrong')).code).not.toBe(0);
  }, 300_000);

  test('with a login pushes and pulls what that account may', async () => {
    const client = get();
    expect(await client.logIn('alice', PASSWORD)).toMatchObject({ code: 0 });
    expect(await client.push('team/pushed:1')).toMatchObject({ code: 0 });
    expect(await client.pull('team/pushed:1')).toMatchObject({ code: 0 });
    await client.logOut();
    expect(await client.logIn('bob', PASSWORD)).toMatchObject({ code: 0 });
    expect(await client.pull('team/pushed:1')).toMatchObject({ code: 0 });
    expect((await client.push('team/denied:1')).code).not.toBe(0);
    await client.logOut();
  }, 300_000);
}

/** What skopeo, podman and buildah have in common: their logins. */
function commonLogin(tool: string): Pick<Client, 'logIn' | 'logOut'> {
  return {
    logIn: (account, password) =>
      sandbox.run(
        tool,
        ['login', '--tls-verify=false', '-u', account, '--password-stdin', sandbox.registry.host],
        { input: password, mayFail: true },
      ),
    logOut: () => sandbox.run(tool, ['logout', sandbox.registry.host], { mayFail: true }),
  };
}

describe('skopeo', () => {
  behaves(() => ({
    ...commonLogin('skopeo'),
    push: (name) =>
      sandbox.run('skopeo', ['--insecure-policy', 'copy', busybox.reference, `docker://${remote(name)}`], {
        mayFail: true,
      }),
    pull: async (name) => {
      const target = await sandbox.workspace.folder('skopeo', name.replaceAll(/\W/g, '-'));
      return sandbox.run(
        'skopeo',
        ['--insecure-policy', 'copy', `docker://${remote(name)}`, `dir:${target}`],
        {
          mayFail: true,
        },
      );
    },
  }));
});

describe.each(['podman', 'buildah'])('%s', (tool) => {
  const run = (...args: readonly string[]) => {
    const { workspace } = sandbox;
    const place = ['--root', workspace.join(tool), '--runroot', workspace.join(`${tool}-run`)];
    return sandbox.run(tool, [...place, '--storage-driver', 'vfs', ...args], { mayFail: true });
  };
  behaves(() => ({
    ...commonLogin(tool),
    push: async (name) => {
      await run('pull', '--tls-verify=false', remote('public/seed:1'));
      return run('push', '--tls-verify=false', remote('public/seed:1'), `docker://${remote(name)}`);
    },
    pull: async (name) => {
      await run('rmi', '--force', remote(name));
      return run('pull', '--tls-verify=false', remote(name));
    },
  }));
});

describe('docker', () => {
  let dockerd: Dockerd;
  beforeAll(async () => {
    dockerd = await startDockerd(sandbox, 'docker');
    const rootfs = await sandbox.workspace.folder('rootfs');
    await mkdir(`${rootfs}/bin`);
    await copyFile(requireTool('busybox'), `${rootfs}/bin/busybox`);
    await sandbox.run('tar', ['-C', rootfs, '-cf', sandbox.workspace.join('rootfs.tar'), '.']);
    await dockerd.docker(['import', sandbox.workspace.join('rootfs.tar'), 'mine']);
  }, 300_000);
  afterAll(async () => {
    await dockerd.stop();
  }, 300_000);

  const docker = (...args: readonly string[]) => dockerd.docker(args, { mayFail: true });
  behaves(() => ({
    logIn: (account, password) =>
      dockerd.docker(['login', '-u', account, '--password-stdin', sandbox.registry.host], {
        input: password,
        mayFail: true,
      }),
    logOut: () => docker('logout', sandbox.registry.host),
    push: async (name) => {
      await docker('tag', 'mine', remote(name));
      return docker('push', remote(name));
    },
    pull: async (name) => {
      await docker('rmi', remote(name));
      return docker('pull', remote(name));
    },
  }));

  test('searches what the account may pull', async () => {
    const { stdout } = await docker('search', '--format', '{{.Name}}', `${sandbox.registry.host}/seed`);
    expect(stdout.trim().split('\n')).toEqual(['public/seed']);
  });
});

describe('ctr', () => {
  let containerd: Containerd;
  beforeAll(async () => {
    containerd = await startContainerd(sandbox, 'containerd');
  }, 300_000);
  afterAll(async () => {
    await containerd.daemon.stop();
  }, 300_000);

  const ctr = (command: string, account: string | undefined, ...args: readonly string[]) => {
    const login = account === undefined ? [] : ['--user', account];
    return containerd.ctr('images', command, '--plain-http', ...login, ...args);
  };

  test('pulls without a login, and pushes with one', async () => {
    await ctr('pull', undefined, remote('public/seed:1'));
    expect(await failed(ctr('pull', undefined, remote('team/seed:1')))).toBe(true);
    expect(await failed(ctr('pull', 'alice:wrong', remote('team/seed:1')))).toBe(true);
    await ctr('pull', `bob:${PASSWORD}`, remote('team/seed:1'));
    await ctr('push', `alice:${PASSWORD}`, remote('team/ctr:1'), remote('team/seed:1'));
    expect(await failed(ctr('push', `bob:${PASSWORD}`, remote('team/denied:1'), remote('team/seed:1')))).toBe(
      true,
    );
  }, 300_000);
});

function failed(command: Promise<unknown>): Promise<boolean> {
  return command.then(
    () => false,
    () => true,
  );
}

test('no command left a password in the log', async () => {
  await writeFile(sandbox.workspace.join('log'), sandbox.registry.logs());
  expect(sandbox.registry.logs()).not.toContain(PASSWORD);
  await untilLogged(sandbox.registry, 'account=alice');
});
