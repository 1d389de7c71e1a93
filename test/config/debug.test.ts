/** What `http.debug` may say. */
import { expect, test } from 'bun:test';
import { load, loaded, minimal } from './config-file.ts';

test.each([
  ['{addr: ""}', undefined],
  ['{addr: ":5001"}', { addr: { hostname: '', port: 5001 } }],
  ['{addr: "[::1]:7", prometheus: {enabled: false, path: /m}}', { addr: { hostname: '::1', port: 7 } }],
  ['{addr: ":7", prometheus: {enabled: true}}', { addr: { hostname: '', port: 7 }, metrics: '/metrics' }],
  [
    '{addr: ":7", prometheus: {enabled: true, path: ""}}',
    { addr: { hostname: '', port: 7 }, metrics: '/metrics' },
  ],
  [
    '{addr: ":7", prometheus: {enabled: true, path: /a/b}}',
    { addr: { hostname: '', port: 7 }, metrics: '/a/b' },
  ],
])('%s', async (debug, expected) => {
  const found = await load(minimal(`http: {debug: ${debug}}`));
  expect(found).toMatchObject({ problems: [], warnings: [] });
  expect((await loaded(minimal(`http: {debug: ${debug}}`))).http.debug).toEqual(expected);
});

test.each([
  ['{debug: {addr: here}}', 'http.debug.addr: expected host:port such as "127.0.0.1:5001", found "here"'],
  ['{addr: ":5", debug: {addr: "127.0.0.1:5"}}', 'http.debug.addr: has the port of http.addr'],
  ['{debug: {addr: ":7", prometheus: {path: m}}}', 'http.debug.prometheus.path: expected a path such as'],
  ['{debug: {addr: ":7", prometheus: {path: /debug/health}}}', 'http.debug.prometheus.path: expected'],
  ['{debug: {addr: ":7", prometheus: {path: /a/../b}}}', 'http.debug.prometheus.path: expected'],
])('%s is refused', async (http, problem) => {
  const { problems } = await load(minimal(`http: ${http}`));
  expect(problems).toEqual([expect.stringContaining(problem)]);
});

test('metrics without an address are told to have no effect', async () => {
  const { warnings } = await load(minimal('http: {debug: {prometheus: {enabled: true}}}'));
  expect(warnings).toEqual([
    'config.yml:3:38: http.debug.prometheus.enabled: has no effect without http.debug.addr',
  ]);
});
