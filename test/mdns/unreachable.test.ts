/** A registry that no other machine can reach is not announced. */
import { expect, test } from 'bun:test';
import { announce } from '../../src/app-mdns.ts';
import type { Logger } from '../../src/log.ts';
import { loaded } from '../config/config-file.ts';

test.each([
  [{ hostname: '127.0.0.1', port: 5000 }],
  [{ hostname: 'localhost', port: 5000 }],
  [{ unix: '/run/entrepot.sock' }],
])('on %p, and why is told once', async (address) => {
  const warnings: string[] = [];
  const names: (string | undefined)[] = [];
  const ignore = () => undefined;
  const log: Logger = {
    error: ignore,
    info: ignore,
    debug: ignore,
    warn: (message, fields) => void warnings.push(`${message} ${JSON.stringify(fields)}`),
  };
  const config = await loaded('version: 0.1\nstorage: {inmemory: {}}\nmdns: {enabled: true}\n');
  const end = await announce(config, address, {
    log,
    onName: (host) => names.push(host),
    onReady: (host) => names.push(host),
  });
  await end();
  expect(names).toEqual([undefined]);
  expect(warnings).toEqual([expect.stringContaining('not announced, as no other machine can reach it')]);
});
