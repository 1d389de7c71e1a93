/** Real clients pulling through Entrepot while the upstream is faulty: an error or the right image, never another. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { readFile } from 'node:fs/promises';
import { type Fault, ofBlobs, ofManifests, ofMoved, type Predicate } from '../harness/fault.ts';
import { type FaultProxy, startFaultProxy } from '../harness/fault-proxy.ts';
import { pause, untilHolds } from '../harness/waiting.ts';
import { layeredImage } from '../harness/images.ts';
import { digestOf, layoutBlob, type LayoutImage } from '../harness/oci-layout.ts';
import { ACCEPT } from '../harness/registry-client.ts';
import { requireTool } from '../harness/tools.ts';
import { ACCOUNT } from '../harness/token-server.ts';
import { startUpstreamRegistry, type UpstreamRegistry } from '../harness/upstreams.ts';
import { type ClientSandbox, openClientSandbox } from './client-sandbox.ts';
import { type ClientName, CLIENTS, openPullingClients, type PullingClients } from './pulling-clients.ts';

const NAME = 'up.example';
/** Milliseconds after which a client of a faulty upstream is ended, which may try again for long: it has got nothing then. */
const PATIENCE = 1_000;

let upstream: UpstreamRegistry;
/** Another way to the same registry, where an upstream can send us. */
let elsewhere: FaultProxy;
let sandbox: ClientSandbox;
let clients: PullingClients;

beforeAll(async () => {
  for (const tool of ['docker-registry', 'skopeo']) requireTool(tool);
  upstream = await startUpstreamRegistry('plain');
  elsewhere = await startFaultProxy(upstream.direct);
  const entry = { name: NAME, ...upstream.settings, ...ACCOUNT, timeout: '5s' };
  sandbox = await openClientSandbox('proxy-faults', {
    config: { proxy: { upstreams: [entry] }, http: { workers: 2 } },
  });
  clients = await openPullingClients(sandbox, [NAME]);
}, 300_000);

afterAll(async () => {
  await clients.close();
  await elsewhere.close();
  await sandbox.close();
  await upstream.dispose();
}, 300_000);

/** An image at the upstream that nobody has pulled yet. */
async function newImage(name: string): Promise<LayoutImage> {
  const image = await layeredImage(sandbox.workspace.join(name), {
    layers: 2,
    layerBytes: 20_000,
    seed: name,
  });
  await upstream.seed(image, `lib/${name}:1`);
  return image;
}

type Outcomes = Readonly<Record<string, string>>;

/** What each client got: `right`, the digest where it is another one, or `nothing`. */
async function pullByAll(
  image: LayoutImage,
  name: string,
  limit?: number,
  who: readonly ClientName[] = CLIENTS,
): Promise<Outcomes> {
  const one = async (digest: Promise<string | undefined>) => {
    const got = await digest;
    return got === image.digest ? 'right' : (got ?? 'nothing');
  };
  const outcomes = who.map(async (client): Promise<[string, string]> => {
    return [client, await one(clients.pull(client, NAME, `lib/${name}:1`, limit))];
  });
  const plain = async (): Promise<[string, string]> => {
    return ['fetch', await one(fetchAll(image, `proxy/${NAME}/lib/${name}`, limit))];
  };
  return Object.fromEntries(await Promise.all([...outcomes, plain()]));
}

/**
 * The digest of the manifest that the tag leads to, when it and all the image's blobs came whole by plain HTTP;
 * undefined where anything failed.
 * @throws Error for a whole answer that has not the digest it is given under: no client that trusts would notice
 */
async function fetchAll(
  image: LayoutImage,
  repository: string,
  limit = 120_000,
): Promise<string | undefined> {
  const signal = AbortSignal.timeout(limit);
  const get = async (path: string, digest?: string): Promise<string | undefined> => {
    const url = `${sandbox.registry.url}/v2/${repository}/${path}`;
    try {
      const answer = await fetch(url, { headers: { accept: ACCEPT }, signal });
      if (answer.status !== 200) return undefined;
      const found = digestOf(await answer.bytes());
      const wanted = digest ?? answer.headers.get('docker-content-digest');
      return found === wanted ? found : `${path} as ${found}`;
    } catch {
      return undefined;
    }
  };
  const got = [await get('manifests/1')];
  for (const { digest } of image.children) got.push(await get(`blobs/${digest}`, digest));
  const wrong = got.filter((one) => one?.includes(' ') === true);
  if (wrong.length > 0) throw new Error(`came whole: ${wrong.join(', ')}`);
  return got.includes(undefined) ? undefined : got[0];
}

let turn = 0;
/** So many clients, others each time: all of them at each fault would cost minutes, and show nothing more. */
function inTurn(count: number): readonly ClientName[] {
  const first = turn;
  turn += count;
  return CLIENTS.filter(
    (_, index) => (index - (first % CLIENTS.length) + CLIENTS.length) % CLIENTS.length < count,
  );
}

/**
 * Everybody gets the image in the end: who comes while a failed transfer ends shares its end, and what an upstream
 * said (that it wants to be left alone, that it has nothing) counts for some seconds after it.
 */
async function expectRight(image: LayoutImage, name: string): Promise<void> {
  const repository = `proxy/${NAME}/lib/${name}`;
  // Of two workers each may know something else.
  for (let [right, times] = [0, 0]; right < 6 && times < 200; times += 1) {
    right = (await fetchAll(image, repository)) === image.digest ? right + 1 : 0;
    if (right === 0) await pause(100);
  }
  await expectAllRight(image, name, inTurn(1));
}

async function expectAllRight(
  image: LayoutImage,
  name: string,
  who: readonly ClientName[] = CLIENTS,
): Promise<void> {
  const right = Object.fromEntries([...who, 'fetch'].map((client) => [client, 'right']));
  expect(await pullByAll(image, name, undefined, who)).toEqual(right);
}

interface Case {
  readonly fault: () => Fault;
  readonly when?: Predicate;
  /** Whether it can be got round, so that nothing is wrong if everybody gets the image. */
  readonly isPassable?: boolean;
  /** Whether it is taken for the absence of the image, which is remembered: so others are tried first. */
  readonly isRefusal?: boolean;
}

const unauthorised = { status: 401, headers: { 'www-authenticate': 'Basic realm="for ever"' } } as const;
const CASES: Readonly<Record<string, Case>> = {
  'a token that is never good enough': {
    fault: () => ({ kind: 'challenge', realm: upstream.front.endlessRealm }),
    isRefusal: true,
  },
  'a password that is never good enough': {
    fault: () => ({ kind: 'status', ...unauthorised }),
    isRefusal: true,
  },
  'a token service of another domain': {
    fault: () => ({
      kind: 'challenge',
      realm: elsewhere.endlessRealm.replace('127.0.0.1', 'localhost'),
    }),
  },
  '429': { fault: () => ({ kind: 'status', status: 429, headers: { 'retry-after': '1' } }) },
  '429 for blobs': {
    fault: () => ({ kind: 'status', status: 429, headers: { 'retry-after': '1' } }),
    when: ofBlobs,
  },
  '500': { fault: () => ({ kind: 'status', status: 500 }) },
  '500 for blobs': { fault: () => ({ kind: 'status', status: 500 }), when: ofBlobs },
  'no answer': { fault: () => ({ kind: 'hang' }) },
  'no answer for blobs': { fault: () => ({ kind: 'hang' }), when: ofBlobs },
  'half a blob, and silence': {
    fault: () => ({ kind: 'hang-after', bytes: 100 }),
    when: ofBlobs,
  },
  'half a manifest, and silence': {
    fault: () => ({ kind: 'hang-after', bytes: 100 }),
    when: ofManifests,
  },
  'half a blob, and the end': { fault: () => ({ kind: 'cut-after', bytes: 100 }), when: ofBlobs },
  'half a manifest, and the end': { fault: () => ({ kind: 'cut-after', bytes: 100 }), when: ofManifests },
  'a wrong byte in blobs': { fault: () => ({ kind: 'flip', at: 50 }), when: ofBlobs },
  'a wrong byte in manifests': { fault: () => ({ kind: 'flip', at: 50 }), when: ofManifests },
  'a byte a second': { fault: () => ({ kind: 'trickle' }), when: ofBlobs },
  'a redirect to elsewhere': {
    fault: () => ({ kind: 'redirect', to: elsewhere.url }),
    when: ofBlobs,
    isPassable: true,
  },
  'a redirect to itself': {
    fault: () => ({ kind: 'redirect', to: upstream.front.url }),
    when: (asked) => !ofMoved(asked),
    isPassable: true,
  },
  'a redirect without an end': { fault: () => ({ kind: 'redirect', to: upstream.front.url }) },
};

describe('nothing cached', () => {
  const refused = new Map<string, LayoutImage>();

  test.each(Object.entries(CASES).map(([title, one], index) => ({ title, index, ...one })))(
    '$title: an error or the right image; and the right image when it is over',
    async ({ index, fault, when, isPassable = false, isRefusal = false }) => {
      const name = `cold-${index}`;
      const image = await newImage(name);
      upstream.front.inject(fault(), when);
      try {
        const outcomes = await pullByAll(image, name, PATIENCE, inTurn(3));
        const allowed = isPassable ? ['right', 'nothing'] : ['nothing'];
        expect(Object.values(outcomes).filter((one) => !allowed.includes(one))).toEqual([]);
      } finally {
        upstream.front.heal();
      }
      if (isRefusal) refused.set(name, image);
      else await expectRight(image, name);
    },
    300_000,
  );

  test('refused connections: an error, and the right image when it is back', async () => {
    const image = await newImage('refused');
    await upstream.front.refuse();
    const outcomes = await pullByAll(image, 'refused');
    await upstream.front.accept();
    expect([...new Set(Object.values(outcomes))]).toEqual(['nothing']);
    await expectRight(image, 'refused');
  }, 300_000);

  test('what was refused comes when it is no longer', async () => {
    expect(refused.size).toBe(2);
    for (const [name, image] of refused) await expectRight(image, name);
  }, 300_000);

  test('half a manifest, and silence that does not end: the client is told', async () => {
    await newImage('silent');
    upstream.front.inject({ kind: 'hang-after', bytes: 100 }, ofManifests);
    try {
      // Far more than the upstream's time limit.
      const signal = AbortSignal.timeout(30_000);
      const url = `${sandbox.registry.url}/v2/proxy/${NAME}/lib/silent/manifests/1`;
      const { status } = await fetch(url, { headers: { accept: ACCEPT }, signal });
      expect([502, 504]).toContain(status);
    } finally {
      upstream.front.heal();
    }
  }, 300_000);

  test('the account goes to nobody that an upstream names', () => {
    expect(elsewhere.asked.filter(({ target }) => target.startsWith('/endless-token'))).toEqual([]);
    expect(elsewhere.asked.filter(({ authorization }) => authorization !== undefined)).toEqual([]);
  });
});

describe('a part of a blob, of an upstream that redirects', () => {
  const modes: Readonly<Record<string, Fault | undefined>> = {
    'where ranges are known': undefined,
    'where they are not': { kind: 'ignore-range' },
    'with a wrong byte': { kind: 'flip', at: 1500 },
    'with an early end': { kind: 'cut-after', bytes: 1500 },
  };
  const places = { 'to itself': () => upstream.front, elsewhere: () => elsewhere };
  const cases = Object.entries(places).flatMap(([where, place]) =>
    Object.entries(modes).map(([how, fault]) => ({ where, place, how, fault })),
  );
  test.each(cases.map((one, index) => ({ ...one, index })))(
    '$where, $how: an error, or exactly what was asked for',
    async ({ place, fault, index }) => {
      const image = await newImage(`range-${index}`);
      const digest = image.children[1]?.digest ?? '';
      const url = `${sandbox.registry.url}/v2/proxy/${NAME}/lib/range-${index}/blobs/${digest}`;
      const layer = await readFile(layoutBlob(image.layout, digest));
      const right = { status: 206, sum: digestOf(layer.subarray(1000, 2000)) };
      const part = async () => {
        // A connection that ends early is an error before or after the head, as it happens.
        const answer = await fetch(url, { headers: { range: 'bytes=1000-1999' } }).catch(() => undefined);
        const bytes = await answer?.bytes().catch(() => undefined);
        return { status: answer?.status, sum: bytes === undefined ? undefined : digestOf(bytes) };
      };
      const { front } = upstream;
      front.inject({ kind: 'redirect', to: place().url }, (asked) => ofBlobs(asked) && !ofMoved(asked));
      if (fault !== undefined) place().inject(fault, ofMoved);
      try {
        const got = await part();
        if ((got.status ?? 500) < 400 && got.sum !== undefined) expect(got).toEqual(right);
      } finally {
        front.heal();
        elsewhere.heal();
      }
      expect(await part()).toEqual(right);
    },
  );
});

describe('cached, and only the upstream is faulty', () => {
  let image: LayoutImage;
  beforeAll(async () => {
    image = await newImage('kept');
    await expectAllRight(image, 'kept');
  }, 300_000);

  const faults: Readonly<Record<string, Fault>> = {
    '429': { kind: 'status', status: 429, headers: { 'retry-after': '1' } },
    '500': { kind: 'status', status: 500 },
    'no answer': { kind: 'hang' },
    'half a manifest, and the end': { kind: 'cut-after', bytes: 100 },
    'a redirect without an end': { kind: 'redirect', to: 'http://127.0.0.1:1' },
  };
  test.each(Object.entries(faults))(
    '%s: a tag comes as it was',
    async (_, fault) => {
      upstream.front.inject(fault);
      try {
        await expectAllRight(image, 'kept', inTurn(3));
      } finally {
        upstream.front.heal();
      }
    },
    300_000,
  );

  test('the tag has moved, and what it leads to is not given: it comes as it was', async () => {
    const kept = await newImage('moving');
    await expectAllRight(kept, 'moving', inTurn(3));
    const next = await layeredImage(sandbox.workspace.join('moved'), { seed: 'moved' });
    await upstream.seed(next, 'lib/moving:1');
    // As by Docker Hub, which limits the rate of GET only.
    const isGet: Predicate = (asked) => asked.method === 'GET' && ofManifests(asked);
    upstream.front.inject({ kind: 'status', status: 429, headers: { 'retry-after': '1' } }, isGet);
    try {
      await expectAllRight(kept, 'moving', inTurn(3));
    } finally {
      upstream.front.heal();
    }
    // It is left alone for as long as it asked.
    const url = `${sandbox.registry.url}/v2/proxy/${NAME}/lib/moving/manifests/1`;
    const present = async () =>
      (await fetch(url, { method: 'HEAD' })).headers.get('docker-content-digest') === next.digest;
    await untilHolds(present);
    await expectRight(next, 'moving');
  }, 300_000);

  test('refused connections: a tag comes as it was', async () => {
    await upstream.front.refuse();
    try {
      await expectAllRight(image, 'kept');
    } finally {
      await upstream.front.accept();
    }
  }, 300_000);
});
