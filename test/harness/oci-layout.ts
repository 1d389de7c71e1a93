import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** A blob or manifest of an OCI layout. */
export interface LayoutDescriptor {
  readonly mediaType: string;
  /** `sha256:…` */
  readonly digest: string;
  /** Bytes. */
  readonly size: number;
  readonly platform?: { readonly os: string; readonly architecture: string };
}

/** An image or an index in an OCI layout folder. */
export interface LayoutImage {
  /** The folder. */
  readonly layout: string;
  readonly tag: string;
  /** As skopeo, buildah and podman name it: `oci:FOLDER:TAG`. */
  readonly reference: string;
  /** Of the manifest or index. */
  readonly digest: string;
  readonly mediaType: string;
  /** Its exact bytes. */
  readonly bytes: Uint8Array;
  /** Config first, then layers; the manifests of an index. */
  readonly children: readonly LayoutDescriptor[];
}

const REF_NAME = 'org.opencontainers.image.ref.name';

interface IndexEntry extends LayoutDescriptor {
  readonly annotations?: Readonly<Record<string, string>>;
}

/** The path of a blob of the layout. */
export function layoutBlob(layout: string, digest: string): string {
  return join(layout, 'blobs', ...digest.split(':'));
}

/** What a tag of an OCI layout stands for. @throws Error when the layout has no such tag */
export async function readLayoutImage(layout: string, tag: string): Promise<LayoutImage> {
  const entry = (await readIndex(layout)).find((one) => one.annotations?.[REF_NAME] === tag);
  if (entry === undefined) throw new Error(`${layout} has no tag ${tag}`);
  const bytes = await readFile(layoutBlob(layout, entry.digest));
  const document: {
    config?: LayoutDescriptor;
    layers?: LayoutDescriptor[];
    manifests?: LayoutDescriptor[];
  } = JSON.parse(bytes.toString());
  return {
    layout,
    tag,
    reference: `oci:${layout}:${tag}`,
    digest: entry.digest,
    mediaType: entry.mediaType,
    bytes,
    children: [
      ...(document.config === undefined ? [] : [document.config]),
      ...(document.layers ?? []),
      ...(document.manifests ?? []),
    ],
  };
}

/** Writes a blob and returns its descriptor. */
export async function addBlob(
  layout: string,
  bytes: Uint8Array,
  mediaType: string,
): Promise<LayoutDescriptor> {
  const digest = digestOf(bytes);
  await mkdir(join(layout, 'blobs', 'sha256'), { recursive: true });
  await writeFile(layoutBlob(layout, digest), bytes);
  return { mediaType, digest, size: bytes.length };
}

async function readIndex(layout: string): Promise<IndexEntry[]> {
  const text = await readFile(join(layout, 'index.json'), 'utf8').catch(() => '{"manifests":[]}');
  const index: { manifests: IndexEntry[] } = JSON.parse(text);
  return index.manifests;
}

/** Points a tag of the layout at something; undefined removes the tag. */
export async function tagInLayout(
  layout: string,
  tag: string,
  target: LayoutDescriptor | undefined,
): Promise<void> {
  const others = (await readIndex(layout)).filter((one) => one.annotations?.[REF_NAME] !== tag);
  const entry = target === undefined ? [] : [{ ...target, annotations: { [REF_NAME]: tag } }];
  await writeFile(join(layout, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  await writeFile(
    join(layout, 'index.json'),
    jsonBytes({ schemaVersion: 2, manifests: [...others, ...entry] }),
  );
}

/** The value as JSON text, in bytes. */
export function jsonBytes(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value));
}

/** `sha256:` and the hexadecimal sum. */
export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
