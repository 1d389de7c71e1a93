/** The section `retention`, as it is written. */
import * as v from 'valibot';
import { parseAge } from './durations.ts';
import { filledListOf, flag, integer, listOf, oneOf, textThat } from './scalars.ts';
import { timetable } from './upkeep-schema.ts';

/** What no name can match was meant in another language of patterns: such a rule would keep nothing. */
const tagPattern = () =>
  textThat('a pattern of tags such as "v*", in which only * is special', (typed) =>
    /^[\w*][\w.*-]{0,127}$/.test(typed) ? typed : undefined,
  );

const repositoryPattern = () =>
  textThat('a pattern of repositories such as "ci/*", in which only * is special', (typed) =>
    /^[a-z0-9._/*-]{1,255}$/.test(typed) ? typed : undefined,
  );

const age = () =>
  textThat('a time such as "14d" or "36h"', (typed) => {
    const ms = parseAge(typed);
    return ms === undefined || ms < 0 ? undefined : ms;
  });

const keep = v.object({
  tags: v.optional(filledListOf(tagPattern())),
  except: v.nullish(listOf(tagPattern())),
  newest: v.nullish(integer(1, 1_000_000)),
  by: v.nullish(oneOf('push', 'version')),
  pushed_within: v.nullish(age()),
  pulled_within: v.nullish(age()),
});

export const retentionSchema = v.object({
  enabled: v.nullish(flag()),
  ...timetable,
  rules: v.nullish(
    v.array(
      v.object({
        repositories: filledListOf(repositoryPattern()),
        except: v.nullish(listOf(repositoryPattern())),
        delete: v.optional(filledListOf(tagPattern())),
        keep: v.nullish(v.array(keep)),
        untagged: v.nullish(age()),
      }),
    ),
  ),
});
