/** The section `quotas`, as it is written, and what it means. */
import * as v from 'valibot';
import type { QuotaConfig } from './config.ts';
import type { Findings } from './findings.ts';
import { parseSize, warnOfUnitless } from './proxy-schema.ts';
import { integer, textThat } from './scalars.ts';
import type { MapNode } from './tree.ts';

/** What `{namespace}` is followed by, so that every name it can stand for is one namespace's. */
const PATTERN = /^(?!$)(?:\{namespace\}(?=$|[/*]))?[a-z0-9._/*-]*$/;

export const quotasSchema = v.array(
  v.object({
    repositories: textThat('a pattern of repositories such as "team/*" or "{namespace}/*"', (typed) =>
      PATTERN.test(typed) ? typed : undefined,
    ),
    bytes: v.nullish(textThat('a size such as "20GB" or "500MiB"', parseSize)),
    max_repositories: v.nullish(integer(0)),
  }),
);

/** What is in force. A rule that limits nothing is a slip. */
export function effectiveQuotas(
  section: v.InferOutput<typeof quotasSchema>,
  root: MapNode,
  findings: Findings,
): readonly QuotaConfig[] {
  return section.map(({ repositories, bytes, max_repositories: most }, index) => {
    if (!isGiven(bytes) && !isGiven(most)) {
      findings.problemAt(root, ['quotas', index], 'limits nothing: add "bytes" or "max_repositories"');
    }
    warnOfUnitless(root, ['quotas', index, 'bytes'], findings);
    return {
      repositories,
      ...(isGiven(bytes) ? { bytes } : {}),
      ...(isGiven(most) ? { maxRepositories: most } : {}),
    };
  });
}

function isGiven<T>(value: T | null | undefined): value is T {
  return value !== null && value !== undefined;
}
