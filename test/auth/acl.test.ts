import { describe, expect, test } from 'bun:test';
import * as fc from 'fast-check';
import type { Action } from '../../src/auth/access.ts';
import { Acl, type Rule, type Subject } from '../../src/auth/acl.ts';

function rule(rest: Partial<Rule>): Rule {
  return {
    who: { anonymous: true },
    name: '*',
    actions: ['*'],
    ip: [],
    deny: false,
    source: 'here',
    ...rest,
  };
}

const alice: Subject = { account: 'alice', groups: ['dev'], remoteAddress: '10.0.0.1' };
const bob: Subject = { account: 'bob', groups: [], remoteAddress: '192.168.0.1' };
const nobody: Subject = { account: '', groups: [], remoteAddress: '192.168.0.1' };

describe('rules', () => {
  test('nothing is allowed that no rule allows', () => {
    for (const subject of [alice, bob, nobody]) {
      expect(new Acl([]).decide(subject, 'pull', 'a')).toEqual({
        allowed: false,
        rule: undefined,
        limited: false,
      });
      expect(new Acl([]).mayPullAnything(subject)).toBe(false);
    }
  });

  test('the first rule that speaks of the action decides', () => {
    const acl = new Acl([
      rule({ who: { anonymous: true }, name: 'public/*', actions: ['pull'], source: '1' }),
      rule({ who: { account: 'bob' }, name: 'secret/*', deny: true, source: '2' }),
      rule({ who: { group: 'dev' }, name: 'team/*', actions: ['pull', 'push'], source: '3' }),
      rule({ who: { account: '*' }, actions: ['pull'], source: '4' }),
      rule({ who: { account: 'bob' }, actions: ['push'], source: '5' }),
    ]);
    const decided = (subject: Subject, action: 'pull' | 'push' | 'delete', name: string) => {
      const { allowed, rule: by } = acl.decide(subject, action, name);
      return `${allowed ? 'yes' : 'no'} ${by?.source ?? '-'}`;
    };
    expect(decided(nobody, 'pull', 'public/a')).toBe('yes 1');
    expect(decided(alice, 'pull', 'public/a')).toBe('yes 1');
    expect(decided(nobody, 'push', 'public/a')).toBe('no -');
    expect(decided(nobody, 'pull', 'team/a')).toBe('no -');
    expect(decided(alice, 'push', 'team/a')).toBe('yes 3');
    expect(decided(alice, 'pull', 'other')).toBe('yes 4');
    expect(decided(bob, 'push', 'public/a')).toBe('yes 5'); // the first rule does not speak of pushes
    expect(decided(bob, 'pull', 'secret/a')).toBe('no 2');
    expect(decided(bob, 'push', 'secret/a')).toBe('no 2');
    expect(decided(alice, 'delete', 'team/a')).toBe('no -');
    expect(acl.mayPullAnything(nobody)).toBe(true);
  });

  test('an account’s own folder', () => {
    const acl = new Acl([rule({ who: { account: '*' }, name: 'home/${account}/*' })]);
    expect(acl.decide(alice, 'push', 'home/alice/app').allowed).toBe(true);
    expect(acl.decide(bob, 'push', 'home/alice/app').allowed).toBe(false);
    expect(acl.decide(nobody, 'pull', 'home//app').allowed).toBe(false);
    const open = new Acl([rule({ name: 'home/${account}/*' })]);
    expect(open.decide(nobody, 'pull', 'home//app').allowed).toBe(false);
    expect(open.mayPullAnything(nobody)).toBe(false);
    expect(open.mayPullAnything(alice)).toBe(true);
  });

  test('a name that is put in is no pattern, and nothing else is put in', () => {
    const acl = new Acl([rule({ who: { anonymous: true }, name: '*/${account}/${account}-*' })]);
    const named = (account: string) => ({ ...bob, account });
    expect(acl.decide(named('bob'), 'pull', 'x/bob/bob-1').allowed).toBe(true);
    expect(acl.decide(named('bob'), 'pull', 'x/bob/eve-1').allowed).toBe(false);
    for (const account of ['*', 'b*', '${account}', '$&', '.*']) {
      expect(acl.decide(named(account), 'pull', 'x/bob/bob-1').allowed).toBe(false);
    }
    for (const name of ['${group}/*', '${account}/${x}', '${', '*${}']) {
      const other = new Acl([rule({ name })]);
      expect(other.decide(bob, 'pull', 'bob/bob').allowed).toBe(false);
      expect(other.mayPullAnything(bob)).toBe(false);
    }
  });

  test('by address; who comes by a unix socket has none', () => {
    const acl = new Acl([rule({ ip: ['10.0.0.0/8'] })]);
    expect(acl.decide(alice, 'pull', 'a').allowed).toBe(true);
    expect(acl.decide(bob, 'pull', 'a').allowed).toBe(false);
    for (const remoteAddress of ['', 'unknown', '10.0.0', '11.0.0.1', '::1']) {
      expect(acl.decide({ ...alice, remoteAddress }, 'pull', 'a').allowed).toBe(false);
      expect(acl.mayPullAnything({ ...alice, remoteAddress })).toBe(false);
    }
    for (const remoteAddress of ['10.9.9.9', '::ffff:10.9.9.9']) {
      expect(acl.decide({ ...alice, remoteAddress }, 'pull', 'a').allowed).toBe(true);
      expect(acl.mayPullAnything({ ...alice, remoteAddress })).toBe(true);
    }
    expect(() => new Acl([rule({ ip: ['10.0.0.0/33'] })])).toThrow('"10.0.0.0/33" is neither');
  });

  test('the anonymous account is none of the accounts, and is in no group', () => {
    const acl = new Acl([rule({ who: { account: '*' } }), rule({ who: { group: '' } })]);
    expect(acl.decide(nobody, 'pull', 'a').allowed).toBe(false);
    const empty = new Acl([rule({ who: { account: '' } })]);
    expect(empty.decide(nobody, 'pull', 'a').allowed).toBe(false);
    expect(empty.decide(bob, 'pull', 'a').allowed).toBe(false);
  });

  test('accounts by a pattern', () => {
    const acl = new Acl([rule({ who: { account: 'ci-*' }, actions: ['push'] })]);
    expect(acl.decide({ ...bob, account: 'ci-1' }, 'push', 'a').allowed).toBe(true);
    expect(acl.decide(bob, 'push', 'a').allowed).toBe(false);
  });

  test('limits narrow and never widen', () => {
    const acl = new Acl([rule({ who: { account: 'alice' }, name: 'team/*', actions: ['pull'] })]);
    const limited = { ...alice, limits: [{ name: 'team/a', actions: ['pull', 'push'] as const }] };
    expect(acl.decide(limited, 'pull', 'team/a').allowed).toBe(true);
    expect(acl.decide(limited, 'pull', 'team/b')).toEqual({ allowed: false, rule: undefined, limited: true });
    expect(acl.decide(limited, 'push', 'team/a').allowed).toBe(false);
    expect(acl.mayPullAnything(limited)).toBe(true);
    expect(acl.mayPullAnything({ ...alice, limits: [{ name: '*', actions: ['push'] }] })).toBe(false);
    expect(acl.mayPullAnything({ ...alice, limits: [] })).toBe(false);
    expect(acl.decide({ ...alice, limits: [] }, 'pull', 'team/a').limited).toBe(true);
  });

  test('a group is no account and an account no group', () => {
    const acl = new Acl([rule({ who: { account: 'dev' } }), rule({ who: { group: 'alice' } })]);
    expect(acl.decide(alice, 'pull', 'a').allowed).toBe(false);
  });
});

test('a refusal of everything ends the search for what may be pulled, one of something does not', () => {
  const allow = rule({ actions: ['pull'] });
  const may = (...rules: readonly Rule[]) => new Acl([...rules, allow]).mayPullAnything(bob);
  expect(may()).toBe(true);
  expect(may(rule({ deny: true }))).toBe(false);
  expect(may(rule({ deny: true, name: '**' }))).toBe(false);
  expect(may(rule({ deny: true, name: 'a*' }))).toBe(true);
  expect(may(rule({ deny: true, actions: ['push', 'delete'] }))).toBe(true);
  expect(may(rule({ deny: true, who: { account: 'alice' } }))).toBe(true);
  expect(may(rule({ deny: true, ip: ['10.0.0.0/8'] }))).toBe(true);
  expect(may(rule({ deny: true, ip: ['192.168.0.0/16'] }))).toBe(false);
});

/** The rules as their documentation tells them, in the plainest way. */
function modelDecides(rules: readonly Rule[], subject: Subject, action: Action, repository: string) {
  const like = (pattern: string, text: string) => {
    const source = pattern.replaceAll(/[.$+?]/g, String.raw`\$&`).replaceAll('*', '.*');
    return new RegExp(`^${source}$`).test(text);
  };
  return rules.find(({ who, name, actions, ip }) => {
    const isWho =
      'anonymous' in who ||
      ('group' in who
        ? subject.groups.includes(who.group)
        : subject.account !== '' && like(who.account, subject.account));
    const isName =
      (subject.account !== '' || !name.includes('${account}')) &&
      like(name.replaceAll('${account}', subject.account), repository);
    const isIp = ip.length === 0 || ip.some((start) => subject.remoteAddress.startsWith(start.slice(0, 3)));
    return isWho && isName && isIp && (actions.includes('*') || actions.includes(action));
  });
}

describe('against a model', () => {
  const who = fc.constantFrom<Rule['who']>(
    { anonymous: true },
    { account: '*' },
    { account: 'al*' },
    { account: 'bob' },
    { group: 'dev' },
    { group: 'ops' },
  );
  const anyRule: fc.Arbitrary<Rule> = fc.record({
    who,
    name: fc.constantFrom('*', 'a/*', '*/b', 'a/b', '${account}/*', '*/${account}', 'a*b*', 'a-${account}'),
    actions: fc.subarray<Action | '*'>(['pull', 'push', 'delete', '*']),
    ip: fc.subarray(['10.0.0.0/8', '192.0.0.0/8'], { maxLength: 1 }),
    deny: fc.boolean(),
    source: fc.string({ maxLength: 3 }),
  });
  const subject: fc.Arbitrary<Subject> = fc.record({
    account: fc.constantFrom('', 'alice', 'bob', 'alan'),
    groups: fc.subarray(['dev', 'ops']),
    remoteAddress: fc.constantFrom('', '10.1.2.3', '192.0.2.1'),
  });
  const action = fc.constantFrom<Action>('pull', 'push', 'delete');
  const repository = fc.constantFrom('a/b', 'a/x', 'alice/b', 'bob/x', 'x/bob', 'a-alan', 'ab', 'b');
  const rules = fc.array(anyRule, { maxLength: 8 });

  test('the same rule decides', () => {
    fc.assert(
      fc.property(rules, subject, action, repository, (list, who_, what, name) => {
        const expected = modelDecides(list, who_, what, name);
        const { allowed, rule: by } = new Acl(list).decide(who_, what, name);
        expect(by).toBe(expected);
        expect(allowed).toBe(expected?.deny === false);
      }),
      { numRuns: 3000 },
    );
  });

  test('whoever may pull something may pull anything', () => {
    fc.assert(
      fc.property(rules, subject, repository, (list, who_, name) => {
        const acl = new Acl(list);
        if (acl.decide(who_, 'pull', name).allowed) expect(acl.mayPullAnything(who_)).toBe(true);
      }),
      { numRuns: 3000 },
    );
  });
});
