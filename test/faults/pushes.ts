/** Pushes whose every acknowledgement is written down, so that it can be held against the registry after a crash. */
import { randomBytes } from '../harness/random-bytes.ts';
import { ask, closing, digestBy, locationOf, verifyBlob, verifyImage } from '../harness/registry-client.ts';

/** What a registry has said 201 to. */
export interface Acknowledged {
  readonly blobs: { readonly repository: string; readonly digest: string; readonly size: number }[];
  /** Manifests by digest. */
  readonly manifests: { readonly repository: string; readonly digest: string }[];
  /** The last digest that was acknowledged for each `repository:tag`. */
  readonly tags: Map<string, string>;
}

export function nothingYet(): Acknowledged {
  return { blobs: [], manifests: [], tags: new Map() };
}

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';

/**
 * Pushes an image of two layers and a config, each by another kind of upload: chunked, in one PUT, in one POST.
 * @throws Error at the first answer that is not the expected one, or none
 */
export async function pushImage(
  url: string,
  repository: string,
  tag: string,
  seed: string,
  done: Acknowledged,
  layerBytes = 60_000,
): Promise<void> {
  const chunked = randomBytes(`${seed} chunked`, layerBytes);
  const whole = randomBytes(`${seed} whole`, layerBytes >> 1);
  const config = Buffer.from(JSON.stringify({ seed }));
  const path = `/v2/${repository}/blobs/uploads/`;
  const acknowledge = (bytes: Uint8Array) =>
    done.blobs.push({ repository, digest: digestBy('sha256', bytes), size: bytes.length });

  let location = locationOf(await ask(url, path, 202, { method: 'POST' }));
  const half = chunked.length >> 1;
  for (const [from, to] of [
    [0, half],
    [half, chunked.length],
  ] as const) {
    const answer = await ask(url, location.href, 202, {
      method: 'PATCH',
      headers: { 'content-range': `${from}-${to - 1}`, 'content-type': 'application/octet-stream' },
      body: chunked.subarray(from, to),
    });
    location = locationOf(answer);
  }
  await ask(url, closing(location, digestBy('sha256', chunked)), 201, { method: 'PUT' });
  acknowledge(chunked);

  location = locationOf(await ask(url, path, 202, { method: 'POST' }));
  await ask(url, closing(location, digestBy('sha256', whole)), 201, { method: 'PUT', body: whole });
  acknowledge(whole);

  await ask(url, `${path}?digest=${digestBy('sha256', config)}`, 201, { method: 'POST', body: config });
  acknowledge(config);

  const described = (bytes: Uint8Array, mediaType: string) => ({
    mediaType,
    digest: digestBy('sha256', bytes),
    size: bytes.length,
  });
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST,
      config: described(config, 'application/vnd.oci.image.config.v1+json'),
      layers: [chunked, whole].map((bytes) => described(bytes, 'application/vnd.oci.image.layer.v1.tar')),
    }),
  );
  await ask(url, `/v2/${repository}/manifests/${tag}`, 201, {
    method: 'PUT',
    headers: { 'content-type': MANIFEST },
    body: manifest,
  });
  const digest = digestBy('sha256', manifest);
  done.manifests.push({ repository, digest });
  done.tags.set(`${repository}:${tag}`, digest);
}

/** Pulls all that was acknowledged and compares it with its digests. @throws Error for the first that differs */
export async function verifyAll(url: string, done: Acknowledged): Promise<void> {
  for (const blob of done.blobs) await verifyBlob(url, blob.repository, blob);
  for (const { repository, digest } of done.manifests) await verifyImage(url, repository, digest);
  for (const [name, digest] of done.tags) {
    const [repository = '', tag = ''] = name.split(':');
    const answer = await ask(url, `/v2/${repository}/manifests/${tag}`, 200, { method: 'HEAD' });
    const now = answer.headers.get('docker-content-digest');
    // A later push of the tag may have been stored without anybody having been told.
    if (now === null) throw new Error(`${name} has no digest`);
    if (now !== digest) await verifyImage(url, repository, now);
  }
}
