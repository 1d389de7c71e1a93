import { type Digest, isDigest } from './digest.ts';
import { type Manifest, mayBeAbsent } from './manifest.ts';
import { readStoredManifest } from './stored-manifest.ts';

/** What a stored manifest refers to, and what therefore has to stay as long as it does. */
export interface References {
  /** Config, layers, and children of an index that may be plain blobs. */
  readonly content: readonly Digest[];
  /** The part of `content` without which the manifest is broken: not layers that may be elsewhere. */
  readonly required: readonly Digest[];
  /** The children of an index. */
  readonly children: readonly Digest[];
  readonly subject: Digest | undefined;
}

const MENTIONED = /sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}/g;

/**
 * The references of a manifest that is in storage. Of a document that is of no known kind, or cannot be read, everything that
 * looks like a digest counts as one: to keep too much does no harm.
 */
export function referencesOf(bytes: Uint8Array): References {
  const manifest = read(bytes);
  const subject =
    manifest?.subject !== undefined && isDigest(manifest.subject.digest)
      ? manifest.subject.digest
      : undefined;
  if (manifest === undefined || !isKnown(manifest)) {
    const mentioned = Buffer.from(bytes).toString('latin1').match(MENTIONED) ?? [];
    const content = [...new Set(mentioned)].filter(isDigest);
    return { content, required: [], children: content, subject };
  }
  const { config, layers } = manifest;
  const blobs = config === undefined ? layers : [config, ...layers];
  const children = digestsOf(manifest.manifests);
  return {
    content: [...digestsOf(blobs), ...children],
    required: [...digestsOf(blobs.filter((blob) => !mayBeAbsent(blob))), ...children],
    children,
    subject,
  };
}

function read(bytes: Uint8Array): Manifest | undefined {
  try {
    return readStoredManifest(bytes);
  } catch {
    return undefined;
  }
}

/** Documents of other types are read as images; those have neither a config nor layers. */
function isKnown({ kind, config, layers }: Manifest): boolean {
  return kind !== 'image' || config !== undefined || layers.length > 0;
}

function digestsOf(descriptors: readonly { readonly digest: string }[]): Digest[] {
  return descriptors.map(({ digest }) => digest).filter(isDigest);
}
