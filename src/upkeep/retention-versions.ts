/** Tags as versions: `1.2.3`, `v1.2`, `2`, `1.0.0-rc.1`, ordered as semver.org (2.0.0, item 11) orders them. */
import type { Tag } from '../oci/name.ts';

export interface Version {
  readonly numbers: readonly number[];
  /** Empty for a release, which comes after all that lead to it. */
  readonly prerelease: readonly string[];
}

const VERSION = /^v?(\d{1,15}(?:\.\d{1,15}){0,3})(?:-([0-9A-Za-z.-]+))?$/;

/** undefined for a tag that is no version. A tag has no `+`, so what semver calls build metadata is not told apart. */
export function versionOf(tag: Tag): Version | undefined {
  const [, numbers, prerelease] = VERSION.exec(tag) ?? [];
  if (numbers === undefined) return undefined;
  return {
    numbers: numbers.split('.').map(Number),
    prerelease: prerelease === undefined ? [] : prerelease.split('.'),
  };
}

/** Below 0 when `a` comes before `b`. Numbers that are left out are 0. */
export function compareVersions(a: Version, b: Version): number {
  for (let index = 0; index < Math.max(a.numbers.length, b.numbers.length); index += 1) {
    const difference = (a.numbers[index] ?? 0) - (b.numbers[index] ?? 0);
    if (difference !== 0) return difference;
  }
  if (a.prerelease.length === 0 || b.prerelease.length === 0)
    return Number(a.prerelease.length === 0) - Number(b.prerelease.length === 0);
  for (let index = 0; index < Math.min(a.prerelease.length, b.prerelease.length); index += 1) {
    const difference = compareIdentifiers(a.prerelease[index] ?? '', b.prerelease[index] ?? '');
    if (difference !== 0) return difference;
  }
  return a.prerelease.length - b.prerelease.length;
}

/** Numbers by their size, and before words; words by their bytes. */
function compareIdentifiers(a: string, b: string): number {
  const isNumber = (text: string) => /^\d+$/.test(text);
  if (isNumber(a) && isNumber(b)) return Number(a) - Number(b);
  if (isNumber(a) !== isNumber(b)) return isNumber(a) ? -1 : 1;
  return a < b ? -1 : a > b ? 1 : 0;
}
