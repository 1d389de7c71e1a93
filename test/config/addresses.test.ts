import { describe, expect, test } from 'bun:test';
import { parseHost, parsePrefix, parseTcpAddress } from '../../src/config/addresses.ts';

describe('parseTcpAddress', () => {
  test.each([
    [':5000', '', 5000],
    ['127.0.0.1:80', '127.0.0.1', 80],
    ['[::]:443', '::', 443],
    ['[fe80::1%eth0]:443', 'fe80::1%eth0', 443],
    ['registry.example.com:0', 'registry.example.com', 0],
    [':65535', '', 65_535],
  ] as const)('%s', (text, hostname, port) => expect(parseTcpAddress(text)).toEqual({ hostname, port }));

  test.each([
    '',
    '5000',
    'host',
    ':',
    ':http',
    '::1:5000',
    '[::1]',
    ':65536',
    ':-1',
    ':5e3',
    'a b:5',
    'http://a:5',
    ' :5',
  ])('%j is none', (text) => expect(parseTcpAddress(text)).toBeUndefined());
});

describe('parsePrefix', () => {
  test.each([
    ['', '/'],
    ['/', '/'],
    ['a', '/a/'],
    ['/a/', '/a/'],
    ['//a//b', '/a/b/'],
  ])('%j is %s', (text, prefix) => expect(parsePrefix(text)).toBe(prefix));

  test.each(['a b', '/../', 'a/./b', 'a?b', 'a#b', '\\', 'ä'])('%j is none', (text) =>
    expect(parsePrefix(text)).toBeUndefined(),
  );
});

describe('parseHost', () => {
  test.each([
    ['https://example.com', 'https://example.com'],
    ['HTTP://Example.COM:80/', 'http://example.com'],
    ['https://example.com:5000/base//', 'https://example.com:5000/base'],
    ['http://[::1]:5000', 'http://[::1]:5000'],
  ])('%s is %s', (text, host) => expect(parseHost(text)).toBe(host));

  test.each([
    '',
    'example.com',
    'example.com:5000',
    'ftp://a',
    'https://',
    'https:/a',
    'https://u:p@a',
    'https://a?b',
    'https://a#b',
  ])('%j is none', (text) => expect(parseHost(text)).toBeUndefined());
});
