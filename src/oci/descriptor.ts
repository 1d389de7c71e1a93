/** What image-spec's descriptor.md calls a descriptor, as read from a manifest or shown in a referrers list. */
export interface Descriptor {
  readonly mediaType: string;
  /** May be of an algorithm that we cannot compute; see `isDescriptorDigest`. */
  readonly digest: string;
  /** Size of the content in bytes. */
  readonly size: number;
  readonly artifactType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly urls?: readonly string[];
  readonly platform?: Readonly<{ architecture?: string; os?: string; variant?: string }>;
}

export const MEDIA_TYPE = {
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerManifestList: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerSchema1: 'application/vnd.docker.distribution.manifest.v1+json',
  dockerSchema1Signed: 'application/vnd.docker.distribution.manifest.v1+prettyjws',
  octetStream: 'application/octet-stream',
} as const;
