import { digestOf, expectHeaderIs, expectJson, expectStatus, expectThat } from './check.ts';
import { path } from './context.ts';
import type { Scenario } from './scenario.ts';
import { TYPE } from './vocabulary.ts';

const SUITE = 'OCI Conformance Test';

/** Tests that need nothing to be pushed. */
export const basics: readonly Scenario[] = [
  {
    name: SUITE,
    basis: 'suite',
    steps: [
      {
        name: 'ping',
        run: async (context) => {
          await context.get('/v2/');
        },
      },
      {
        name: 'empty/tag list',
        run: async (context) => {
          const answer = await context.get(path.tags(context.fresh('empty')));
          expectStatus(answer, 200, 404);
          if (answer.status === 200) expectJson(answer);
        },
      },
      {
        name: 'empty/referrers',
        run: async (context) => {
          const digest = digestOf(Buffer.from(context.run));
          const answer = await context.get(path.referrers(context.fresh('empty'), digest));
          expectStatus(answer, 200);
          expectHeaderIs(answer, 'Content-Type', TYPE.index);
          const index = expectJson(answer);
          expectThat(index['schemaVersion'] === 2, 'schemaVersion 2', answer);
          expectThat(index['mediaType'] === TYPE.index, `mediaType ${TYPE.index}`, answer);
          expectThat(
            Array.isArray(index['manifests']) && index['manifests'].length === 0,
            'an empty list manifests',
            answer,
          );
        },
      },
    ],
  },
];
