/** The section `scrub`, as it is written. */
import * as v from 'valibot';
import { parseSize } from './proxy-schema.ts';
import { flag, textThat } from './scalars.ts';
import { timetable } from './upkeep-schema.ts';

export const scrubSchema = v.object({
  enabled: v.nullish(flag()),
  ...timetable,
  rate: v.nullish(textThat('bytes in a second such as "50MB"; 0 for no limit', parseSize)),
  repair: v.nullish(flag()),
});
