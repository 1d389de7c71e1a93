import { algorithmOf, type Digest, hexOf, isDigest } from '../oci/digest.ts';
import { contentDigest } from '../store/content-digest.ts';
import { BLOBS, blobKey } from '../store/layout.ts';
import { quarantine } from '../store/quarantine.ts';
import type { Fault, Whereabouts } from './scrub-faults.ts';
import type { ScrubTools } from './scrub-tools.ts';
import { linkingRepositories } from './scrub-whereabouts.ts';

/** The parts that the blobs are in, as `<alg>/<xx>`, in the order in which they are read. */
export async function blobParts({ objects, faults }: ScrubTools): Promise<readonly string[]> {
  const parts: string[] = [];
  const addPartsOf = async (algorithm: string) => {
    if (algorithm !== 'sha256' && algorithm !== 'sha512') {
      faults.stray(`${BLOBS}${algorithm}`);
      return;
    }
    for (const name of await objects.names(`${BLOBS}${algorithm}/`)) {
      if (/^[0-9a-f]{2}$/.test(name)) parts.push(`${algorithm}/${name}`);
      else faults.stray(`${BLOBS}${algorithm}/${name}`);
    }
  };
  await faults.part({ folder: BLOBS }, async () => {
    for (const algorithm of await objects.names(BLOBS))
      await faults.part({ folder: `${BLOBS}${algorithm}/` }, () => addPartsOf(algorithm));
  });
  return parts;
}

/** The digests of a part in their order. What does not belong there is told. */
export async function* blobsOf(
  { objects, faults }: ScrubTools,
  part: string,
  after: string,
): AsyncIterable<Digest> {
  const [algorithm, start = ''] = part.split('/');
  for (const hex of await objects.names(`${BLOBS}${part}/`)) {
    const digest = `${algorithm}:${hex}`;
    if (`${part}/${hex}` <= after) continue;
    if (isDigest(digest) && hex.startsWith(start)) yield digest;
    else faults.stray(`${BLOBS}${part}/${hex}`);
  }
}

/** The place of a digest in the order of `blobParts` and `blobsOf`. */
export function positionOf(digest: Digest): string {
  return `${algorithmOf(digest)}/${hexOf(digest).slice(0, 2)}/${hexOf(digest)}`;
}

/** Reads a digest's bytes and compares. */
export async function lookAtBytes(tools: ScrubTools, digest: Digest): Promise<Fault | undefined> {
  const { objects, faults, pace } = tools;
  const key = blobKey(digest);
  const seen = await objects.info(key);
  if (seen === undefined) {
    await pace(1);
    for (const name of await objects.names(key.slice(0, -'data'.length))) {
      if (name !== 'data') faults.stray(`${key.slice(0, -'data'.length)}${name}`);
    }
    return undefined;
  }
  await pace(1);
  const state = await stateOf(tools, key, digest, seen.size);
  if (state === 'right') {
    faults.tally.blobs += 1;
    faults.tally.bytes += seen.size;
    return undefined;
  }
  const about = { digest, bytes: seen.size };
  const isWrong = async (place: string) => (await stateOf(tools, place, digest, seen.size)) !== 'right';
  const mend = async () => {
    const place = await quarantine(objects, digest, seen, isWrong);
    return place === undefined ? undefined : 'quarantined';
  };
  const whereabouts = async (): Promise<Whereabouts> => {
    const { repositories, more, areAll } = await linkingRepositories(tools, digest);
    return {
      ...(repositories.length === 0 ? {} : { repositories }),
      ...(more === 0 ? {} : { moreRepositories: more }),
      ...(areAll ? {} : { perhapsOthers: true }),
    };
  };
  if (state === 'wrong') return { what: 'wrong digest', about, whereabouts, mend };
  // A disk that cannot read it will not be able to tomorrow; whatever else keeps us from it may pass.
  return {
    what: 'unreadable',
    about: { ...about, reason: state.reason },
    whereabouts,
    ...(state.forGood ? { mend } : {}),
  };
}

type State = 'right' | 'wrong' | { readonly reason: string; readonly forGood: boolean };

async function stateOf(tools: ScrubTools, key: string, digest: Digest, size: number): Promise<State> {
  const { objects, hashing, pace, signal } = tools;
  const algorithm = algorithmOf(digest);
  const reading = { algorithm, size, pace: (bytes: number) => pace(0, bytes), signal };
  try {
    const hex = await contentDigest(objects, hashing, key, reading);
    return hex === undefined || hex === hexOf(digest) ? 'right' : 'wrong';
  } catch (error) {
    signal.throwIfAborted();
    const reason = String(error);
    return { reason, forGood: /\bEIO\b/.test(reason) };
  }
}
