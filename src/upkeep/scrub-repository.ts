/** What a scrub looks at in one repository: links, manifests and what they name, tags, the index of referrers. */
import type { Descriptor } from '../oci/descriptor.ts';
import { type Digest, isDigest } from '../oci/digest.ts';
import { MAX_MANIFEST_BYTES, type Manifest, mayBeAbsent } from '../oci/manifest.ts';
import { isTag } from '../oci/name.ts';
import { readStoredManifest } from '../oci/stored-manifest.ts';
import {
  blobKey,
  layersPrefix,
  type LinkKind,
  linksPrefix,
  referrerKey,
  repositoryMarkKey,
  repositoryPrefix,
  tagsPrefix,
  trashKey,
} from '../store/layout.ts';
import { subjectOf } from '../store/linked-manifests.ts';
import { referrerChange } from '../store/referrers.ts';
import { lookAtBytes } from './scrub-blobs.ts';
import type { Fault, FaultKind } from './scrub-faults.ts';
import { lookAtLink } from './scrub-links.ts';
import { lookAtReferrer, referrerEntries } from './scrub-referrers.ts';
import { lookAtTag } from './scrub-tags.ts';
import { linkTarget, type RepositoryTools, type ScrubTools, storedSize } from './scrub-tools.ts';
import { tagOfManifest } from './scrub-whereabouts.ts';

/** Larger ones than any registry takes are not read into memory. */
const MOST_BYTES = 4 * MAX_MANIFEST_BYTES;

/** Digests of manifests whose bytes or links turned out to be doubtful, so that tags that lead to them are too. */
type Doubtful = Set<Digest>;

export async function scrubRepository(tools: RepositoryTools): Promise<void> {
  const doubtful: Doubtful = new Set();
  for (const kind of ['layers', 'revisions'] as const) {
    for await (const digest of linkedDigests(tools, kind)) {
      await tools.pace(1);
      const wrong = await tools.faults.look('links', () => lookAtLink(tools, kind, digest));
      if (kind === 'layers') continue;
      if (wrong) doubtful.add(digest);
      else await scrubManifest(tools, digest, doubtful);
    }
  }
  await scrubTags(tools, doubtful);
  for await (const entry of referrerEntries(tools)) {
    await tools.pace(1);
    await tools.faults.look('referrers', () => lookAtReferrer(tools, entry));
  }
  await tools.faults.look('referrers', () => lookAtMark(tools));
  for (const entry of await tools.objects.names(`${repositoryPrefix(tools.name)}_manifests/`)) {
    if (entry !== 'revisions' && entry !== 'tags')
      tools.faults.stray(`${repositoryPrefix(tools.name)}_manifests/${entry}`);
  }
  tools.faults.tally.repositories += 1;
}

async function* linkedDigests(
  { objects, faults, name }: RepositoryTools,
  kind: LinkKind,
): AsyncIterable<Digest> {
  const prefix = linksPrefix(name, kind);
  for (const algorithm of await objects.names(prefix)) {
    if (kind === 'layers' && prefix + algorithm === repositoryMarkKey(name)) continue;
    if (algorithm !== 'sha256' && algorithm !== 'sha512') {
      faults.stray(prefix + algorithm);
      continue;
    }
    for (const hex of await objects.names(`${prefix}${algorithm}/`)) {
      const digest = `${algorithm}:${hex}`;
      if (isDigest(digest)) yield digest;
      else faults.stray(`${prefix}${algorithm}/${hex}`);
    }
  }
}

async function scrubManifest(tools: RepositoryTools, digest: Digest, doubtful: Doubtful): Promise<void> {
  const { faults, objects, name, rules, onDemand } = tools;
  const target = await linkTarget(tools, 'revisions', digest);
  if (target === undefined) return;
  if (!tools.bytesKnown && (await faults.look('bytes', () => lookAtBytes(tools, target)))) {
    doubtful.add(digest);
    faults.suspect('links', () => lookAtLink(tools, 'revisions', digest));
    return;
  }
  faults.tally.manifests += 1;
  const read = await readManifest(tools, target);
  if (read === undefined) {
    await faults.look('manifests', () => lookAtManifest(tools, digest));
    return;
  }
  const { manifest, size } = read;
  const subject = subjectOf(manifest);
  if (subject !== undefined) {
    const referrer = { digest, manifest, size };
    await faults.look('referrers', async (): Promise<Fault | undefined> => {
      if (await objects.exists(referrerKey(name, subject, digest))) return undefined;
      if ((await linkTarget(tools, 'revisions', digest)) === undefined) return undefined;
      if (await isInReferrersTag(tools, subject, digest)) return undefined;
      const mend = async () => {
        const change = await referrerChange(objects, name, subject, referrer);
        if (change !== undefined) await objects.commit([change]);
        return 'rewritten';
      };
      return { what: 'missing referrer', about: { repository: name, digest, subject }, mend };
    });
  }
  if (onDemand || !rules.enabled) return;
  if (manifest.config !== undefined) await scrubReference(tools, digest, 'missing config', manifest.config);
  for (const layer of manifest.layers) {
    if (!mayBeAbsent(layer)) await scrubReference(tools, digest, 'missing layer', layer);
  }
  for (const child of manifest.manifests) {
    if (rules.requireChild(child)) await scrubReference(tools, digest, 'missing child', child);
  }
}

/** Looks at what a manifest names. An index may name blobs too: containerd and buildkit keep caches in that form. */
async function scrubReference(
  tools: RepositoryTools,
  manifest: Digest,
  what: FaultKind,
  { digest, size }: Descriptor,
): Promise<void> {
  await tools.pace(1);
  // Of an algorithm that we cannot compute.
  if (!isDigest(digest)) return;
  const look = async (): Promise<number | Fault> => {
    for (const kind of what === 'missing child' ? CHILD_LINKS : BLOB_LINKS) {
      const target = await linkTarget(tools, kind, digest);
      const stored = target === undefined ? undefined : await storedSize(tools.objects, target);
      if (stored !== undefined) return stored;
    }
    const whereabouts = async (): Promise<Readonly<Record<string, string>>> => {
      const tag = await tagOfManifest(
        tools,
        manifest,
        async (one) => (await readManifest(tools, one))?.manifest,
      );
      return tag === undefined ? {} : { tag };
    };
    return { what, about: { repository: tools.name, manifest, digest }, whereabouts };
  };
  await tools.faults.look('manifests', async () => {
    const found = await look();
    if (typeof found === 'number') {
      // Cut short, or the manifest is wrong about it, which its bytes tell.
      if (!tools.bytesKnown && found !== size && size !== 0)
        await tools.faults.look('bytes', () => lookAtBytes(tools, digest));
      return undefined;
    }
    // It may have been deleted meanwhile.
    return (await linkTarget(tools, 'revisions', manifest)) === undefined ? undefined : found;
  });
}

const BLOB_LINKS: readonly LinkKind[] = ['layers', 'revisions'];
const CHILD_LINKS: readonly LinkKind[] = ['revisions', 'layers'];

/** undefined where there is none, or one that cannot be read as a manifest. */
async function readManifest(
  { objects }: ScrubTools,
  digest: Digest,
): Promise<{ readonly manifest: Manifest; readonly size: number } | undefined> {
  if (((await storedSize(objects, digest)) ?? MOST_BYTES) >= MOST_BYTES) return undefined;
  const bytes = (await objects.bytes(blobKey(digest))) ?? (await objects.bytes(trashKey(digest)));
  if (bytes === undefined) return undefined;
  try {
    return { manifest: readStoredManifest(bytes), size: bytes.byteLength };
  } catch {
    return undefined;
  }
}

/** Of a manifest whose bytes are those of its digest. What they say cannot be repaired. */
async function lookAtManifest(tools: RepositoryTools, digest: Digest): Promise<Fault | undefined> {
  const target = await linkTarget(tools, 'revisions', digest);
  if (target === undefined || (await storedSize(tools.objects, target)) === undefined) return undefined;
  if ((await readManifest(tools, target)) !== undefined) return undefined;
  return { what: 'broken manifest', about: { repository: tools.name, digest } };
}

/** Whether a client has recorded it as one does where there is no index of referrers ("Referrers Tag Schema"). */
async function isInReferrersTag(tools: RepositoryTools, subject: Digest, digest: Digest): Promise<boolean> {
  const { objects, name } = tools;
  const tag = subject.replace(':', '-').slice(0, 'sha256-'.length + 64);
  const target = await objects.link(`${tagsPrefix(name)}${tag}/current/link`);
  const index = target === undefined ? undefined : await readManifest(tools, target);
  return index?.manifest.manifests.some((entry) => entry.digest === digest) ?? false;
}

async function scrubTags(tools: RepositoryTools, doubtful: Doubtful): Promise<void> {
  const { objects, faults, name } = tools;
  const prefix = tagsPrefix(name);
  for (const tag of await objects.names(prefix)) {
    await tools.pace(1);
    if (!isTag(tag)) {
      faults.stray(prefix + tag);
      continue;
    }
    const look = () => lookAtTag(tools, tag);
    const target = await objects.link(`${prefix}${tag}/current/link`);
    if (target !== undefined && doubtful.has(target)) faults.suspect('tags', look);
    else await faults.look('tags', look);
  }
}

/** `registry:2` lists, and its collector spares, only repositories that have a `_layers` folder. */
async function lookAtMark({ objects, name, onDemand }: RepositoryTools): Promise<Fault | undefined> {
  if (onDemand || (await objects.names(layersPrefix(name))).length > 0) return undefined;
  let manifests = false;
  for await (const { size } of objects.driver.list(linksPrefix(name, 'revisions'), { limit: 1 })) {
    manifests ||= size > 0;
  }
  if (!manifests) return undefined;
  const mend = async () => {
    await objects.driver.write(repositoryMarkKey(name), new Uint8Array());
    return 'rewritten';
  };
  return { what: 'missing mark', about: { repository: name }, mend };
}
