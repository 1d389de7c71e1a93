#!/usr/bin/env node
/**
 * The `entrepot` command of the npm package. In a checkout it runs the sources by Bun, where the package was
 * installed it runs the bundle by the Node that runs this file.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';

const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));

// npm never publishes the lock file, so only a checkout has it.
if (existsSync(at('package-lock.json')) && existsSync(at('src/main.ts'))) {
  if (!existsSync(at('node_modules/.bin/bun'))) await import('../scripts/setup.mjs');
  runByBun();
} else if (existsSync(at('dist/node/main.js'))) {
  await import('../dist/node/main.js');
} else {
  process.stderr.write('entrepot: this package holds neither sources nor a bundle; install it anew\n');
  process.exitCode = 1;
}

/** Passes signals on and ends as the child does. */
function runByBun() {
  const child = spawn(at('node_modules/.bin/bun'), [at('src/main.ts'), ...process.argv.slice(2)], {
    stdio: 'inherit',
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2']) {
    process.on(signal, () => child.kill(signal));
  }
  // npx runs this by a shell that passes no signal on: a server whose npx is gone would never be ended.
  if (process.env.npm_command === 'exec') {
    const parent = process.ppid;
    const look = setInterval(() => {
      if (process.ppid === parent) return;
      clearInterval(look);
      child.kill('SIGTERM');
    }, 500);
    look.unref();
  }
  child.on('error', (error) => {
    process.stderr.write(`entrepot: Bun could not be run: ${error.message}; run node scripts/setup.mjs\n`);
    process.exitCode = 1;
  });
  child.on('exit', (code, signal) => {
    process.exitCode = code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
  });
}
