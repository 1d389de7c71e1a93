import { RegistryError } from './errors.ts';

/** A repository name that matches the specification's grammar, such as `library/hello-world`. */
export type RepositoryName = string & { readonly __repository: true };

/** A tag that matches the specification's grammar, such as `v1.2`. */
export type Tag = string & { readonly __tag: true };

/** Most characters of a repository name: the peers' limit, and safe for every file system's path component. */
export const MAX_NAME_LENGTH = 255;

const COMPONENT = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const NAME = new RegExp(`^${COMPONENT}(?:/${COMPONENT})*$`);
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;

/** Whether `text` is a repository name. The length is checked first, so that no input costs the pattern much. */
export function isRepositoryName(text: string): text is RepositoryName {
  return text.length <= MAX_NAME_LENGTH && NAME.test(text);
}

/** Whether `text` is a tag. */
export function isTag(text: string): text is Tag {
  return text.length <= 128 && TAG.test(text);
}

/** Whether `text` is a pattern (glob.ts) that some tag can match. */
export function isTagPattern(text: string): boolean {
  return text.length <= 128 && /^[\w*][\w.*-]*$/.test(text);
}

/** Reads a repository name. @throws RegistryError `NAME_INVALID`. */
export function parseRepositoryName(text: string): RepositoryName {
  if (isRepositoryName(text)) return text;
  throw new RegistryError('NAME_INVALID', 'the repository name is not valid', {
    detail: { name: text.slice(0, MAX_NAME_LENGTH) },
  });
}

/** Compares by code unit, which for these ASCII names and tags is the "ASCIIbetical" order of the specification. */
export function compareBytes(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/**
 * Compares repository names component by component, as the peers' catalogs do: `a/b` comes before `a-b`,
 * because a directory's own tree is walked before its next sibling. The same as byte order with `/` lowest.
 */
export function compareRepositoryNames(a: string, b: string): number {
  return compareBytes(a.replaceAll('/', '\0'), b.replaceAll('/', '\0'));
}
