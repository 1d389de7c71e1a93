import { ACCEPT, ask, jsonOf, pullManifest, verifyImage } from '../harness/registry-client.ts';

/** The answer's headers that a client goes by. */
const HEADERS = ['content-length', 'content-type', 'docker-content-digest', 'etag'] as const;

/** All that can be seen of a registry through its API, in a form that two servers can be compared by. */
export interface RegistrySnapshot {
  /** The catalog, in its own order. */
  readonly catalog: readonly string[];
  /** The tags of each repository, sorted: distribution 2.8 gives them in no order. */
  readonly tags: Readonly<Record<string, readonly string[]>>;
  /** By `repository:tag`: the status and headers of a HEAD, and the digests of all that the tag leads to. */
  readonly images: Readonly<Record<string, readonly string[]>>;
  /** By `repository@digest`: the status and headers of a HEAD of each blob of each image. */
  readonly blobs: Readonly<Record<string, string>>;
}

/**
 * Pulls everything that the catalog leads to and verifies every digest.
 * @throws Error when something does not pull or is not what its digest says
 */
export async function takeSnapshot(url: string): Promise<RegistrySnapshot> {
  const catalog = await catalogOf(url);
  const tags: Record<string, string[]> = {};
  const images: Record<string, string[]> = {};
  const blobs: Record<string, string> = {};
  for (const repository of catalog) {
    const list = await tagsOf(url, repository);
    tags[repository] = list;
    for (const tag of list) {
      const everything = await verifyImage(url, repository, tag);
      images[`${repository}:${tag}`] = [await head(url, `/v2/${repository}/manifests/${tag}`), ...everything];
      const { document } = await pullManifest(url, repository, tag);
      for (const blob of [document.config, ...(document.layers ?? [])]) {
        if (blob === undefined) continue;
        blobs[`${repository}@${blob.digest}`] = await head(url, `/v2/${repository}/blobs/${blob.digest}`);
      }
    }
  }
  return { catalog, tags, images, blobs };
}

/** The names of the catalog, read in pages of `pageSize`. @throws Error when a name is shown twice */
export async function catalogOf(url: string, pageSize = 3): Promise<string[]> {
  const names: string[] = [];
  let path: string | undefined = `/v2/_catalog?n=${pageSize}`;
  while (path !== undefined) {
    const answer: Response = await ask(url, path, 200);
    const page = await jsonOf<{ repositories: string[] }>(answer);
    names.push(...page.repositories);
    path = /<([^>]+)>;\s*rel="?next"?/.exec(answer.headers.get('link') ?? '')?.[1];
  }
  if (new Set(names).size < names.length) throw new Error(`a name twice in the catalog: ${names.join(' ')}`);
  return names;
}

/** A repository's tags, sorted; none when it has none, for which some servers say 404. */
export async function tagsOf(url: string, repository: string): Promise<string[]> {
  const answer = await ask(url, `/v2/${repository}/tags/list`, [200, 404]);
  if (answer.status === 404) return [];
  return ((await jsonOf<{ tags: string[] | null }>(answer)).tags ?? []).sort();
}

async function head(url: string, path: string): Promise<string> {
  const answer = await fetch(new URL(path, url), { method: 'HEAD', headers: { accept: ACCEPT } });
  return [answer.status, ...HEADERS.map((name) => `${name}: ${answer.headers.get(name)}`)].join('\n');
}
