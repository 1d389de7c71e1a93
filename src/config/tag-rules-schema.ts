/** The lists `tags.immutable` and `tags.protected`, as they are written. */
import * as v from 'valibot';
import { filledListOf, listOf, textThat } from './scalars.ts';

/** What no tag can match was meant in another language of patterns: such a rule would guard nothing. */
const tagPattern = () =>
  textThat('a pattern of tags such as "v*", in which only * is special', (typed) =>
    /^[\w*][\w.*-]{0,127}$/.test(typed) ? typed : undefined,
  );

const repositoryPattern = () =>
  textThat('a pattern of repositories such as "prod/*", in which only * is special', (typed) =>
    /^[a-z0-9._/*-]{1,255}$/.test(typed) ? typed : undefined,
  );

export const tagRulesSchema = v.array(
  v.object({
    repositories: v.optional(filledListOf(repositoryPattern())),
    tags: filledListOf(tagPattern()),
    except: v.nullish(listOf(tagPattern())),
  }),
);
