/** What the data sets of the specification's suite are made of. */
import { digestOf } from './check.ts';
import { newBlob } from './push.ts';
import type { Blob } from './push.ts';
import { TYPE } from './vocabulary.ts';
import type { Algorithm } from './vocabulary.ts';

/** A descriptor as it stands in a manifest. */
export type Descriptor = Readonly<Record<string, unknown>> & {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
};

/** What the referrers list must say of a manifest with a subject. */
export interface ReferrerEntry {
  readonly subject: string;
  readonly descriptor: Descriptor;
  /** Undefined where the list must not name one. */
  readonly artifactType: string | undefined;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface Manifest {
  readonly bytes: Uint8Array;
  readonly digest: string;
  readonly mediaType: string;
  readonly tags: readonly string[];
  readonly referrer: ReferrerEntry | undefined;
}

/** Collects a tree of content; the manifests are kept in the order in which they can be pushed. */
export class DataSet {
  readonly name: string;
  readonly algorithm: Algorithm;
  /** `digest` when manifests are pushed by digest only, `parameters` when with `?tag=`, else by digest and by tag. */
  readonly tagging: 'tag' | 'digest' | 'parameters';
  readonly blobs: Blob[] = [];
  readonly manifests: Manifest[] = [];

  constructor(name: string, options: { algorithm?: Algorithm; tagging?: DataSet['tagging'] } = {}) {
    this.name = name;
    this.algorithm = options.algorithm ?? 'sha256';
    this.tagging = options.tagging ?? 'tag';
  }

  /** Adds a blob (1 KiB that nobody has, unless given) and returns its descriptor; `absent` ones are never pushed. */
  blob(
    mediaType: string,
    options: { content?: string; absent?: boolean; more?: Readonly<Record<string, unknown>> } = {},
  ): Descriptor {
    const bytes = options.content === undefined ? newBlob().bytes : Buffer.from(options.content);
    const digest = digestOf(bytes, this.algorithm);
    if (options.absent !== true && !this.blobs.some((known) => known.digest === digest))
      this.blobs.push({ bytes, digest });
    return { mediaType, digest, size: bytes.length, ...options.more };
  }

  /** The empty descriptor of image-spec, whose blob is pushed too. */
  empty(): Descriptor {
    return this.blob(TYPE.empty, { content: '{}', more: { data: 'e30=' } });
  }

  /** An image configuration of its own. */
  config(more: Readonly<Record<string, unknown>> = {}): Descriptor {
    const nonce = digestOf(newBlob(16).bytes);
    const content = JSON.stringify({
      architecture: 'amd64',
      os: 'linux',
      config: { Labels: { nonce } },
      rootfs: { type: 'layers', diff_ids: [] },
    });
    return this.blob(TYPE.config, { content, ...(Object.keys(more).length === 0 ? {} : { more }) });
  }

  /** Adds a manifest or an index; `absent` ones are described and never pushed. */
  manifest(
    fields: Readonly<Record<string, unknown>> & { readonly mediaType: string },
    options: { tags?: readonly string[]; absent?: boolean } = {},
  ): Descriptor {
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, ...fields }, null, 2));
    const digest = digestOf(bytes, this.algorithm);
    const descriptor = { mediaType: fields.mediaType, digest, size: bytes.length };
    const referrer = referrerEntry(fields, descriptor);
    if (options.absent !== true)
      this.manifests.push({ bytes, digest, mediaType: fields.mediaType, tags: options.tags ?? [], referrer });
    return descriptor;
  }

  /** A plain image of some layers. */
  image(
    options: { tags?: readonly string[]; layers?: number; more?: Readonly<Record<string, unknown>> } = {},
  ): Descriptor {
    const layers = Array.from({ length: options.layers ?? 2 }, () => this.blob(TYPE.layerGzip));
    return this.manifest(
      { mediaType: TYPE.image, config: this.config(), layers, ...options.more },
      { tags: options.tags ?? [] },
    );
  }

  /** An artifact: an image manifest with the empty configuration and a type of its own. */
  artifact(
    artifactType: string,
    options: { tags?: readonly string[]; more?: Readonly<Record<string, unknown>> } = {},
  ): Descriptor {
    return this.manifest(
      {
        mediaType: TYPE.image,
        artifactType,
        config: this.empty(),
        layers: [this.blob('application/vnd.example.artifact.data')],
        ...options.more,
      },
      { tags: options.tags ?? [] },
    );
  }

  /** An index of these manifests. */
  index(
    manifests: readonly Descriptor[],
    options: { tags?: readonly string[]; more?: Readonly<Record<string, unknown>> } = {},
  ): Descriptor {
    return this.manifest({ mediaType: TYPE.index, manifests, ...options.more }, { tags: options.tags ?? [] });
  }
}

/**
 * What the specification's chapter on referrers derives from a manifest: its `artifactType`, else for an image
 * the media type of its configuration, else nothing; and all of its annotations.
 */
function referrerEntry(
  fields: Readonly<Record<string, unknown>>,
  descriptor: Descriptor,
): ReferrerEntry | undefined {
  const subject = field(fields['subject'], 'digest');
  if (subject === undefined) return undefined;
  const own = fields['artifactType'];
  const artifactType = typeof own === 'string' && own !== '' ? own : field(fields['config'], 'mediaType');
  const annotations = Object.fromEntries(
    Object.entries(fields['annotations'] ?? {}).map(([key, value]) => [key, String(value)]),
  );
  return { subject, descriptor, artifactType, annotations };
}

function field(value: unknown, name: string): string | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const found = Object.entries(value).find(([key]) => key === name)?.[1];
  return typeof found === 'string' ? found : undefined;
}
