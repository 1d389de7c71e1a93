/**
 * Folders below `repositories/` that symbolic links lead to. An operator may have a namespace elsewhere in the same file
 * system, and then it is like any other. A link to what is there under another name answers requests by its name; but listings and upkeep leave it
 * out, so that no link makes them go in circles, or do things twice.
 */
import { StorageFailure } from '../drivers/driver.ts';
import { isRepositoryName, type RepositoryName } from '../oci/name.ts';
import { REPOSITORIES, repositoryPrefix } from './layout.ts';
import type { Objects } from './objects.ts';

/** A folder that is left out. */
export interface LeftOut {
  /** One sentence for the operator. */
  readonly why: string;
  /** Whether all that lies there is found under other names. */
  readonly isKnown: boolean;
}

/** Whether the folder of this name is to be left out. Costs a look at the folder. */
export function leftOut(objects: Objects, name: RepositoryName): LeftOut | undefined {
  const alias = objects.aliasOf(repositoryPrefix(name), REPOSITORIES);
  if (alias === undefined) return undefined;
  const { path, prefix } = alias;
  if (prefix === undefined)
    return { why: `a symbolic link to ${path}, in which the storage itself lies: remove it`, isKnown: false };
  const other = prefix.slice(REPOSITORIES.length, -1);
  if (prefix === REPOSITORIES)
    return { why: `a symbolic link back to all repositories (${path}): remove it`, isKnown: true };
  // What has no name of its own there is reached by this one alone.
  if (!isRepositoryName(other)) return undefined;
  return { why: `a symbolic link to ${path}, which is looked at as ${other}`, isKnown: true };
}

/** For who must know all links. @throws StorageFailure where what lies in the folder is not all found elsewhere */
export function failIfUnknown(name: RepositoryName, { why, isKnown }: LeftOut): void {
  if (!isKnown) throw new StorageFailure(`${name}: ${why}`, 'ELOOP');
}

/**
 * The name of the repository that this one leads to by symbolic links between folders; the same where there are none. For who
 * keeps rules or counts by names. Cheap enough for each request, see `FindsAliases.realPrefix`.
 */
export function canonicalName(objects: Objects, name: RepositoryName): RepositoryName {
  const prefix = repositoryPrefix(name);
  const real = objects.realPrefix(prefix, REPOSITORIES);
  if (real === prefix) return name;
  const other = real.slice(REPOSITORIES.length, -1);
  return isRepositoryName(other) ? other : name;
}
