import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { startDockerRegistry } from '../harness/docker-registry.ts';
import { defaultRuntime, startEntrepot } from '../harness/entrepot.ts';
import type { RunningRegistry } from '../harness/running-registry.ts';
import { KNOWN_FAILURES, matches, UNSTEADY } from './docker-registry-failures.ts';
import type { Result } from './report.ts';
import { runConformance } from './suite.ts';

const LEVELS = ['1.1', 'dev'] as const;

/** A run takes seconds; the limit is for a machine that is busy with everything else. */
const LIMIT = 300_000;

const known = KNOWN_FAILURES.flatMap(({ tests }) => tests);
const unsteady = UNSTEADY.flatMap(({ tests }) => tests);

/** A failure as a line that tells what to look for. */
function line(result: Result): string {
  if (result.status === 'pass') return result.name;
  if (result.status === 'skip') return `${result.name}: skipped, ${result.reason}`;
  const { request, expected, came } = result.failure;
  return `${result.name}: ${request}: expected ${expected}; came ${came}`;
}

/** The peer is the same whatever form of Entrepot is tested. */
if (defaultRuntime() === 'executable') {
  describe("against Debian's docker-registry the suite shows exactly its known failures", () => {
    let registry: RunningRegistry;
    const names = new Set<string>();

    beforeAll(async () => {
      registry = await startDockerRegistry();
    });

    afterAll(async () => {
      await registry.dispose();
    });

    for (const level of LEVELS) {
      test(
        `at level ${level}`,
        async () => {
          const results = await runConformance({ url: registry.url, level });
          for (const { name } of results) names.add(name);
          const steady = results.filter(({ name }) => !matches(name, unsteady));
          const failed = steady.filter(({ status }) => status === 'fail');
          const surprises = failed.filter(({ name }) => !matches(name, known)).map(line);
          expect(surprises).toEqual([]);
          const passed = steady
            .filter(({ name, status }) => status === 'pass' && matches(name, known))
            .map(line);
          expect(passed).toEqual([]);
          const skips = results.flatMap((result) => (result.status === 'skip' ? [result.reason] : []));
          expect([...new Set(skips)].toSorted()).toEqual([
            'the registry does not delete tags',
            'the registry does not delete this',
            'the registry does not look for blobs by itself',
            'the registry does not mount blobs without "from"',
            'the registry does not take a blob with the POST',
          ]);
        },
        LIMIT,
      );
    }

    test('no listed name is of a test that is no more', () => {
      const all = [...names];
      expect(
        [...known, ...unsteady].filter((pattern) => !all.some((name) => matches(name, [pattern]))),
      ).toEqual([]);
    });
  });
}

describe('Entrepot passes everything and skips nothing', () => {
  let registry: RunningRegistry;

  beforeAll(async () => {
    registry = await startEntrepot();
  });

  afterAll(async () => {
    await registry.dispose();
  });

  for (const level of LEVELS) {
    test(
      `at level ${level}`,
      async () => {
        const results = await runConformance({ url: registry.url, level });
        expect(results.filter(({ status }) => status !== 'pass').map(line)).toEqual([]);
        expect(results.length).toBeGreaterThan(700);
      },
      LIMIT,
    );
  }

  test(
    'and content with missing parts, where validation is switched off',
    async () => {
      const lenient = await startEntrepot({ config: { validation: { disabled: true } } });
      try {
        const results = await runConformance({ url: lenient.url, sparse: true, filter: '/sparse/' });
        expect(results.filter(({ status }) => status !== 'pass').map(line)).toEqual([]);
        expect(results.length).toBeGreaterThan(10);
      } finally {
        await lenient.dispose();
      }
    },
    LIMIT,
  );
});
