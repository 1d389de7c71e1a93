import { describe, expect, test } from 'bun:test';
import { parseRepositoryName } from '../../src/oci/name.ts';
import { type QuotaRule, QuotaRules } from '../../src/oci/quota.ts';

const RULES: readonly QuotaRule[] = [
  { repositories: 'team-a/*', bytes: 20 },
  { repositories: '{namespace}/*', bytes: 50, maxRepositories: 3 },
  { repositories: '*/cache', bytes: 5 },
  { repositories: '{namespace}', bytes: 7 },
];

const rules = new QuotaRules(RULES);

describe('the quotas of a repository', () => {
  for (const [name, expected] of [
    // Rules of one account hold together, and the lowest limit of each kind counts.
    ['team-a/app', [{ account: 'team-a/*', namespace: 'team-a', bytes: 20, maxRepositories: 3 }]],
    ['team-ab/app', [{ account: 'team-ab/*', namespace: 'team-ab', bytes: 50, maxRepositories: 3 }]],
    [
      'b/deep/cache',
      [
        { account: 'b/*', namespace: 'b', bytes: 50, maxRepositories: 3 },
        { account: '*/cache', namespace: undefined, bytes: 5 },
      ],
    ],
    // A name without a slash is in no `{namespace}/*`.
    ['busybox', [{ account: 'busybox', namespace: 'busybox', bytes: 7 }]],
  ] as const) {
    test(name, () => {
      expect(rules.of(parseRepositoryName(name))).toEqual(expected as never);
    });
  }

  test('none, where no rule matches', () => {
    expect(new QuotaRules([{ repositories: 'a/*' }]).of(parseRepositoryName('b/a/c'))).toEqual([]);
  });
});

test('every account that a repository has is found by its name, and is among those of its namespace', () => {
  for (const name of ['team-a/app', 'b/c/cache', 'solo', 'a/b']) {
    const [namespace = ''] = name.split('/');
    for (const quota of rules.of(parseRepositoryName(name))) {
      expect(rules.find(quota.account)?.bytes).toBe(quota.bytes);
      expect(rules.accounts([namespace]).map(({ account }) => account)).toContain(quota.account);
    }
  }
  expect(rules.find('team-a/x')).toBeUndefined();
  expect(rules.find('/*')).toBeUndefined();
  expect(rules.find('a/b/*')).toBeUndefined();
});
