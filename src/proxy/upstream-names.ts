/** How repositories of other registries are named here. */
import { isRepositoryName, type RepositoryName } from '../oci/name.ts';

/** The first component of what belongs to other registries. */
export const PROXY = 'proxy';

/** Names under which Docker Hub goes; its API has yet another host. */
const HUB: ReadonlySet<string> = new Set(['docker.io', 'index.docker.io', 'registry-1.docker.io']);

/** The one name of a host that has several. */
export function canonicalHost(host: string): string {
  return HUB.has(host) ? 'docker.io' : host;
}

/** Where an upstream that is not configured is looked for. */
export function upstreamUrl(host: string): URL {
  return new URL(`https://${host === 'docker.io' ? 'registry-1.docker.io' : host}`);
}

/** Docker Hub's rule: what has no owner is in `library`. `host` is the canonical one of the upstream's URL. */
export function repositoryAt(host: string, name: RepositoryName): RepositoryName {
  return (host === 'docker.io' && !name.includes('/') ? `library/${name}` : name) as RepositoryName;
}

/** What stands behind the first component of a name; undefined when nothing does. */
export function splitName(
  name: string,
): { readonly first: string; readonly rest: RepositoryName } | undefined {
  const slash = name.indexOf('/');
  const rest = name.slice(slash + 1);
  return slash > 0 && isRepositoryName(rest) ? { first: name.slice(0, slash), rest } : undefined;
}

/** The name under which an upstream's repository is kept here; undefined where it would be too long. */
export function keptName(upstream: string, repository: RepositoryName): RepositoryName | undefined {
  const name = `${PROXY}/${upstream}/${repository}`;
  return isRepositoryName(name) ? name : undefined;
}
