import { expect, test } from 'bun:test';
import { nearest } from '../../src/config/suggestions.ts';

const KEYS = ['addr', 'net', 'prefix', 'headers', 'draintimeout', 'tls'];

test.each([
  ['adr', 'addr'],
  ['adrd', 'addr'],
  ['ADDR', 'addr'],
  ['tsl', 'tls'],
  ['header', 'headers'],
  ['drain_timeout', 'draintimeout'],
  ['colour', undefined],
  ['', undefined],
  ['x'.repeat(1000), undefined],
] as const)('%s means %p', (typed, meant) => expect(nearest(typed, KEYS)).toBe(meant));
