/** Real clients that pull through Entrepot from upstreams of every form: cold, warm, and with the upstream stopped. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { layeredImage } from '../harness/images.ts';
import type { LayoutImage } from '../harness/oci-layout.ts';
import { ANONYMOUS_PREFIX } from '../harness/token-server.ts';
import { requireTool } from '../harness/tools.ts';
import {
  startUpstreamRegistry,
  UPSTREAM_FORMS,
  type UpstreamForm,
  type UpstreamRegistry,
} from '../harness/upstreams.ts';
import { type ClientSandbox, openClientSandbox } from './client-sandbox.ts';
import { startDockerd } from './dockerd.ts';
import { type ClientName, CLIENTS, openPullingClients, type PullingClients } from './pulling-clients.ts';

let sandbox: ClientSandbox;
let clients: PullingClients;
const upstreams = new Map<UpstreamForm, UpstreamRegistry>();
const images = new Map<string, LayoutImage>();

/** The upstream without its account: what it gives to everybody. */
const NOBODY = 'nobody.example';
/** The forms that want an account. */
const LOCKED = ['htpasswd', 'token'] as const;
const LAYERS = 3;
const nameOf = (form: UpstreamForm) => `${form}.example`;

beforeAll(async () => {
  for (const tool of ['docker-registry', 'openssl', 'skopeo']) requireTool(tool);
  for (const form of UPSTREAM_FORMS) upstreams.set(form, await startUpstreamRegistry(form));
  const entries = UPSTREAM_FORMS.map((form) => ({ name: nameOf(form), ...upstream(form).settings }));
  const nobody = { ...upstream('token').settings, name: NOBODY, username: undefined, password: undefined };
  const secure = { ...upstream('tls').settings, ca: undefined };
  const others = [
    nobody,
    { ...secure, name: 'untrusted.example' },
    { ...secure, name: 'insecure.example', insecure: true },
    ...LOCKED.map((form) => ({
      ...upstream(form).settings,
      name: `wrong-${form}.example`,
      password: 'wrong',
    })),
  ];
  sandbox = await openClientSandbox('proxy-upstreams', {
    config: { proxy: { upstreams: [...entries, ...others] } },
  });
  clients = await openPullingClients(sandbox, UPSTREAM_FORMS.map(nameOf));
  // Each client has its own image of each upstream, so that the first pull of each is a cold one.
  for (const form of UPSTREAM_FORMS) {
    const seeds = CLIENTS.map(async (client) => {
      const seed = `${form}-${client}`;
      const image = await layeredImage(sandbox.workspace.join(seed), { layers: LAYERS, seed });
      images.set(seed, image);
      await upstream(form).seed(image, `lib/${client}:1`);
    });
    await Promise.all(seeds);
  }
  await upstream('token').seed(imageOf('token', 'skopeo'), `${ANONYMOUS_PREFIX}app:1`);
}, 300_000);

afterAll(async () => {
  await clients.close();
  await sandbox.close();
  for (const one of upstreams.values()) await one.dispose();
}, 300_000);

function upstream(form: UpstreamForm): UpstreamRegistry {
  const found = upstreams.get(form);
  if (found === undefined) throw new Error(`there is no upstream of the form ${form}`);
  return found;
}

function imageOf(form: UpstreamForm, client: ClientName): LayoutImage {
  const found = images.get(`${form}-${client}`);
  if (found === undefined) throw new Error(`there is no image for ${client}`);
  return found;
}

const expected = Object.fromEntries(CLIENTS.map((client) => [client, 'right']));

/** What each client got: `right`, the digest where it is another one, or nothing where it failed. */
async function pullByAll(form: UpstreamForm): Promise<Record<string, string>> {
  const outcomes = CLIENTS.map(async (client): Promise<[ClientName, string]> => {
    const digest = await clients.pull(client, nameOf(form), `lib/${client}:1`);
    return [client, digest === imageOf(form, client).digest ? 'right' : (digest ?? 'nothing')];
  });
  return Object.fromEntries(await Promise.all(outcomes));
}

const BLOBS = /\/blobs\/sha256:/;

describe.each([...UPSTREAM_FORMS])('an upstream of the form %s', (form) => {
  test('cold: every client gets the image, and each blob comes once', async () => {
    expect(await pullByAll(form)).toEqual(expected);
    const counts = upstream(form).front.gets(BLOBS);
    expect(counts.size).toBe(CLIENTS.length * (LAYERS + 1));
    expect([...new Set(counts.values())]).toEqual([1]);
  }, 300_000);

  test('warm: no blob and no manifest is fetched again', async () => {
    const { front } = upstream(form);
    const before = front.asked.filter(({ method }) => method === 'GET').length;
    expect(await pullByAll(form)).toEqual(expected);
    const gets = front.asked.filter(({ method, target }) => method === 'GET' && target.includes('/lib/'));
    expect(gets.slice(before)).toEqual([]);
  }, 300_000);
});

test('tokens for nobody: what is public comes, what is not does not', async () => {
  const { digest } = imageOf('token', 'skopeo');
  expect(await clients.pull('skopeo', NOBODY, `${ANONYMOUS_PREFIX}app:1`)).toBe(digest);
  expect(await clients.pull('skopeo', NOBODY, 'lib/skopeo:1')).toBeUndefined();
}, 300_000);

test('a certificate of an unknown authority: refused, unless the configuration takes any', async () => {
  expect(await clients.pull('skopeo', 'untrusted.example', 'lib/skopeo:1')).toBeUndefined();
  const { digest } = imageOf('tls', 'skopeo');
  expect(await clients.pull('skopeo', 'insecure.example', 'lib/skopeo:1')).toBe(digest);
}, 300_000);

test.each([...LOCKED])(
  '%s with a wrong password: an error, again and again',
  async (form) => {
    for (let time = 0; time < 2; time += 1) {
      expect(await clients.pull('skopeo', `wrong-${form}.example`, 'lib/skopeo:1')).toBeUndefined();
    }
  },
  300_000,
);

test('proxy.remoteurl: names without a prefix are the upstream’s, and docker takes it for its mirror', async () => {
  const { url } = upstream('plain').front;
  const { digest } = imageOf('plain', 'docker');
  const mirror = await openClientSandbox('proxy-default', { config: { proxy: { remoteurl: url } } });
  try {
    const inspect = ['inspect', '--format', '{{.Digest}}', `docker://${mirror.registry.host}/lib/docker:1`];
    expect((await mirror.run('skopeo', inspect)).stdout.trim()).toBe(digest);
    const dockerd = await startDockerd(mirror, 'docker', { 'registry-mirrors': [mirror.registry.url] });
    try {
      await dockerd.docker(['pull', 'lib/docker:1']);
      const told = await dockerd.docker(['image', 'inspect', '--format', '{{.RepoDigests}}', 'lib/docker:1']);
      expect(told.stdout).toContain(digest);
    } finally {
      await dockerd.stop();
    }
  } finally {
    await mirror.close();
  }
}, 300_000);

describe.each([...UPSTREAM_FORMS])('with the upstream of the form %s stopped', (form) => {
  test('every client gets what was pulled before', async () => {
    await upstream(form).stop();
    expect(await pullByAll(form)).toEqual(expected);
  }, 300_000);
});
