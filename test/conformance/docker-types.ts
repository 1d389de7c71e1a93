/** Docker's own manifest types, and that `Accept` changes nothing. */
import { expectBody, expectDigest, expectHeaderIs, expectStatus, digestOf } from './check.ts';
import { path } from './context.ts';
import type { Context } from './context.ts';
import { pushManifest } from './push.ts';
import { Kept } from './scenario.ts';
import type { Scenario, Step } from './scenario.ts';
import { descriptor, manifestOf } from './small-manifest.ts';
import { TYPE } from './vocabulary.ts';

interface Typed {
  readonly bytes: Uint8Array;
  readonly digest: string;
  readonly mediaType: string;
}

/** What clients send: nothing, everything, one type of all four, and one that is none of them. */
const ACCEPTS: readonly (string | undefined)[] = [
  undefined,
  '*/*',
  'application/json',
  TYPE.image,
  TYPE.index,
  TYPE.dockerManifest,
  TYPE.dockerList,
  TYPE.dockerSchema1Signed,
];

/** An image and a list of each family. */
async function makeAll(context: Context, repository: string): Promise<Readonly<Record<string, Typed>>> {
  const { fields, config, layers, bytes, digest } = await manifestOf(context, repository);
  const docker = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: TYPE.dockerManifest,
      config: descriptor(config, TYPE.dockerConfig),
      layers: layers.map((layer) => descriptor(layer, TYPE.dockerLayer)),
    }),
  );
  const platform = { architecture: 'amd64', os: 'linux' };
  const listOf = (mediaType: string, child: Uint8Array, childType: string): Buffer => {
    const entry = { ...descriptor({ bytes: child, digest: digestOf(child) }, childType), platform };
    return Buffer.from(
      JSON.stringify({ schemaVersion: fields['schemaVersion'], mediaType, manifests: [entry] }),
    );
  };
  const index = listOf(TYPE.index, bytes, TYPE.image);
  const list = listOf(TYPE.dockerList, docker, TYPE.dockerManifest);
  return {
    'docker-image': { bytes: docker, digest: digestOf(docker), mediaType: TYPE.dockerManifest },
    'docker-list': { bytes: list, digest: digestOf(list), mediaType: TYPE.dockerList },
    'oci-image': { bytes, digest, mediaType: TYPE.image },
    'oci-index': { bytes: index, digest: digestOf(index), mediaType: TYPE.index },
  };
}

const KINDS = ['docker-image', 'oci-image', 'docker-list', 'oci-index'] as const;

/** The tests. */
export function dockerTypes(): Scenario {
  const made = new Kept<Readonly<Record<string, Typed>>>('manifests');
  const one = (kind: string): Typed => {
    const typed = made.get()[kind];
    if (typed === undefined) throw new Error(`there is no ${kind}`);
    return typed;
  };
  const repository = (context: Context): string => context.fresh('types');
  const pushes = KINDS.map((kind): Step => ({
    name: `${kind} is pushed`,
    run: async (context) => {
      const { bytes, digest, mediaType } = one(kind);
      for (const reference of [digest, kind])
        await pushManifest(context, repository(context), reference, bytes, mediaType);
    },
  }));
  const reads = KINDS.flatMap((kind) =>
    ACCEPTS.map((accept): Step => ({
      name: `${kind} comes as it is for ${accept === undefined ? 'no Accept' : `Accept: ${accept}`}`,
      run: async (context) => {
        const { bytes, digest, mediaType } = one(kind);
        for (const reference of [digest, kind]) {
          const headers = accept === undefined ? {} : { Accept: accept };
          const answer = await context.get(path.manifest(repository(context), reference), headers);
          expectStatus(answer, 200);
          expectHeaderIs(answer, 'Content-Type', mediaType);
          expectDigest(answer, digest, true);
          expectBody(answer, bytes);
        }
      },
    })),
  );
  return {
    name: 'beyond/types',
    basis: 'ours',
    steps: [
      {
        name: 'prepare',
        run: async (context) => {
          made.set(await makeAll(context, repository(context)));
        },
      },
      ...pushes,
      ...reads,
      {
        name: 'a blob of a manifest is no manifest',
        run: async (context) => {
          const { config } = await manifestOf(context, repository(context));
          expectStatus(await context.get(path.manifest(repository(context), config.digest)), 404);
        },
      },
      {
        name: 'blobs come as application/octet-stream',
        run: async (context) => {
          const { config } = await manifestOf(context, repository(context));
          const answer = await context.get(path.blob(repository(context), config.digest));
          expectHeaderIs(answer, 'Content-Type', TYPE.octets);
        },
      },
    ],
  };
}
