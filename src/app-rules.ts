/** What the configuration asks of manifests. A part of the composition root. */
import type { Config } from './config/config.ts';
import type { ManifestRules } from './store/manifest-rules.ts';

/** The rules for manifests that are pushed to our own repositories. */
export function rulesOf({ validation }: Config): ManifestRules {
  const { urls, indexes } = validation.manifests;
  const allow = urls.allow.map((pattern) => new RegExp(pattern));
  const deny = urls.deny.map((pattern) => new RegExp(pattern));
  const platforms = new Set(indexes.platformList.map(({ os, architecture }) => `${os}/${architecture}`));
  return {
    enabled: !validation.disabled,
    allowUrl: (url) =>
      (allow.length === 0 || allow.some((pattern) => pattern.test(url))) &&
      !deny.some((pattern) => pattern.test(url)),
    requireChild: ({ platform }) =>
      indexes.platforms === 'all' ||
      (indexes.platforms === 'list' &&
        platforms.has(`${platform?.os ?? ''}/${platform?.architecture ?? ''}`)),
  };
}

/** Whether an index may have been pushed without all of its children. */
export function takesSparseIndexes({ validation }: Config): boolean {
  return validation.disabled || validation.manifests.indexes.platforms !== 'all';
}
