import { describe, expect, test } from 'bun:test';
import * as fc from 'fast-check';
import { Acl, type Rule, type Subject } from '../../src/auth/acl.ts';
import { fill, glob } from '../../src/auth/glob.ts';
import { ipRange } from '../../src/auth/ip-range.ts';

describe('globs', () => {
  const table: readonly (readonly [pattern: string, yes: readonly string[], no: readonly string[]])[] = [
    ['*', ['', 'a', 'a/b'], []],
    ['myorg/*', ['myorg/a', 'myorg/a/b', 'myorg/'], ['myorg', 'xmyorg/a', 'myorg2/a']],
    ['backend-*', ['backend-a', 'backend-a/b', 'backend-'], ['backend', 'x/backend-a']],
    ['a/b', ['a/b'], ['a/b/c', 'a', 'xa/b', 'A/b']],
    ['*/cache', ['a/cache', 'a/b/cache'], ['cache', 'a/cache/b']],
    ['a*b*c', ['abc', 'axbxc', 'abbbc', 'abcbc'], ['ac', 'abx', 'ab', 'a b']],
    ['a*a', ['aa', 'aba'], ['a']],
    ['**', ['', 'a'], []],
    ['a.b', ['a.b'], ['axb']],
    ['', [''], ['a']],
  ];
  test.each(table)('%s', (pattern, yes, no) => {
    for (const text of yes) expect([text, glob(pattern)(text)]).toEqual([text, true]);
    for (const text of no) expect([text, glob(pattern)(text)]).toEqual([text, false]);
  });

  test('match as a regular expression would', () => {
    const parts = fc.array(fc.constantFrom('a', 'b', '/', '*', 'ab', '.'), { maxLength: 8 });
    fc.assert(
      fc.property(
        parts,
        fc.array(fc.constantFrom('a', 'b', '/', '.'), { maxLength: 12 }),
        (pattern, text) => {
          const source = pattern
            .map((part) => (part === '*' ? '.*' : part.replaceAll('.', String.raw`\.`)))
            .join('');
          expect(glob(pattern.join(''))(text.join(''))).toBe(new RegExp(`^${source}$`).test(text.join('')));
        },
      ),
    );
  });

  test('a hostile pattern ends', () => {
    expect(glob(`${'*a'.repeat(2000)}*b`)('a'.repeat(100_000))).toBe(false);
  });

  test('places are filled, or the whole is nothing', () => {
    expect(fill('u/${account}/*', () => 'bob')).toBe('u/bob/*');
    expect(fill('u/${account}/*', () => undefined)).toBeUndefined();
    expect(fill('plain', () => undefined)).toBe('plain');
  });
});

test('address blocks', () => {
  const inside = ipRange(['10.0.0.0/8', '192.168.1.7', 'fd00::/8', '::1', '::ffff:172.16.0.0/108']);
  for (const ip of ['10.1.2.3', '::ffff:10.1.2.3', '192.168.1.7', 'fd12::1', '::1', '172.16.255.1']) {
    expect([ip, inside(ip)]).toEqual([ip, true]);
  }
  for (const ip of ['11.0.0.1', '192.168.1.8', 'fe80::1%eth0', '', 'x', '172.32.0.1']) {
    expect([ip, inside(ip)]).toEqual([ip, false]);
  }
});

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
  });

  test('by address; who comes by a unix socket has none', () => {
    const acl = new Acl([rule({ ip: ['10.0.0.0/8'] })]);
    expect(acl.decide(alice, 'pull', 'a').allowed).toBe(true);
    expect(acl.decide(bob, 'pull', 'a').allowed).toBe(false);
    expect(acl.decide({ ...alice, remoteAddress: '' }, 'pull', 'a').allowed).toBe(false);
  });

  test('limits narrow and never widen', () => {
    const acl = new Acl([rule({ who: { account: 'alice' }, name: 'team/*', actions: ['pull'] })]);
    const limited = { ...alice, limits: [{ name: 'team/a', actions: ['pull', 'push'] as const }] };
    expect(acl.decide(limited, 'pull', 'team/a').allowed).toBe(true);
    expect(acl.decide(limited, 'pull', 'team/b')).toEqual({ allowed: false, rule: undefined, limited: true });
    expect(acl.decide(limited, 'push', 'team/a').allowed).toBe(false);
  });

  test('a group is no account and an account no group', () => {
    const acl = new Acl([rule({ who: { account: 'dev' } }), rule({ who: { group: 'alice' } })]);
    expect(acl.decide(alice, 'pull', 'a').allowed).toBe(false);
  });
});
