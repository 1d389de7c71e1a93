/** Manifests that no tag leads to, and when a rule has them go. Retention only tells of them: the collector does it. */
import type { RepositoryName } from '../oci/name.ts';
import type { JobContext, JobItem } from './job.ts';
import { markRepository } from './marks.ts';
import { formatAge, type RetentionRule } from './retention-rules.ts';

/** What the collector does with them. */
export interface CollectorFacts {
  readonly isEnabled: boolean;
  /** Milliseconds after which anything at all may go. */
  readonly graceMs: number;
}

/**
 * The items `untagged` of a repository: `repository`, `digest`, `pushed`, `from` (when the collector may remove it),
 * `goes` where that time has come, and `why`. None where the rule says nothing of them, and in no order.
 * @param now milliseconds since 1970
 */
export async function* untaggedManifests(
  context: Pick<JobContext, 'objects' | 'pace' | 'exclusive'>,
  name: RepositoryName,
  rule: RetentionRule,
  { isEnabled, graceMs }: CollectorFacts,
  now: number,
): AsyncIterable<JobItem> {
  const { untaggedAfterMs, number } = rule;
  if (untaggedAfterMs === undefined) return;
  // As if nothing were young: then only tags keep something.
  const never = Number.POSITIVE_INFINITY;
  const { revisions, manifests } = await markRepository(context, name, {
    untaggedSince: never,
    graceSince: never,
  });
  const by = isEnabled
    ? 'the collector removes it'
    : 'garbage_collector is not enabled: `entrepot gc` removes it';
  for (const [digest, { key, trashed }] of revisions) {
    const modified =
      manifests.has(digest) || trashed ? undefined : (await context.objects.info(key))?.modified;
    if (modified === undefined) continue;
    const from = modified + Math.max(untaggedAfterMs, graceMs);
    const rest = from > now ? `in ${formatAge(from - now)}` : 'when it runs';
    yield {
      what: 'untagged',
      repository: name,
      digest,
      pushed: new Date(modified).toISOString(),
      from: new Date(from).toISOString(),
      ...(from > now ? {} : { goes: true }),
      why: `rule ${number}, untagged ${formatAge(untaggedAfterMs)}: no tag leads to it; ${by} ${rest}`,
    };
  }
}
