/** How repositories of other registries are named here. */
import { isRepositoryName, type RepositoryName } from '../oci/name.ts';

/** The first component of what belongs to other registries. */
export const PROXY = 'proxy';

/** A repository of an upstream. */
export interface UpstreamRepository {
  /** As the configuration or the path calls the upstream. */
  readonly upstream: string;
  /** As the upstream calls the repository. */
  readonly repository: RepositoryName;
}

/** Names under which Docker Hub goes; its API has yet another host. */
const HUB: ReadonlySet<string> = new Set(['docker.io', 'index.docker.io', 'registry-1.docker.io']);

/** The one name of an upstream that has several. */
export function canonicalUpstream(host: string): string {
  return HUB.has(host) ? 'docker.io' : host;
}

/** Where an upstream that is not configured is looked for. */
export function upstreamUrl(upstream: string): URL {
  return new URL(`https://${upstream === 'docker.io' ? 'registry-1.docker.io' : upstream}`);
}

/** `proxy/<upstream>/<repository>`; undefined for names of our own. */
export function parseProxyName(name: RepositoryName): UpstreamRepository | undefined {
  const [first, upstream, ...rest] = name.split('/');
  const repository = rest.join('/');
  if (first !== PROXY || upstream === undefined || !isRepositoryName(repository)) return undefined;
  return upstreamRepository(upstream, repository);
}

/** Docker Hub's rule: what has no owner is in `library`. */
export function upstreamRepository(host: string, name: RepositoryName): UpstreamRepository {
  const upstream = canonicalUpstream(host);
  const full = upstream === 'docker.io' && !name.includes('/') ? `library/${name}` : name;
  return { upstream, repository: full as RepositoryName };
}

/** The name under which an upstream's repository is kept here. */
export function proxyName({ upstream, repository }: UpstreamRepository): RepositoryName | undefined {
  const name = `${PROXY}/${upstream}/${repository}`;
  return isRepositoryName(name) ? name : undefined;
}
