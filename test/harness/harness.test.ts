import { expect, test } from 'bun:test';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { pause } from './waiting.ts';
import { startDockerRegistry } from './docker-registry.ts';
import { failureOf } from './failure-of.ts';
import { nodeBinary } from './node-binary.ts';
import { requireTool, run } from './tools.ts';
import { createWorkspace } from './workspace.ts';

test('a registry is started, answers, and leaves nothing behind', async () => {
  const registry = await startDockerRegistry();
  expect((await fetch(`${registry.url}/v2/`)).status).toBe(200);
  expect(existsSync(registry.configFile)).toBe(true);
  await registry.dispose();
  expect(registry.exitCode()).toBeDefined();
  expect(existsSync(registry.dataDirectory)).toBe(false);
});

test('a crash ends the process at once and keeps the data', async () => {
  const registry = await startDockerRegistry();
  await registry.kill9();
  expect(registry.exitCode()).toBe(137);
  expect(existsSync(registry.dataDirectory)).toBe(true);
  await registry.dispose();
});

test('a server that cannot start fails with what it said', async () => {
  const starting = startDockerRegistry({
    config: 'version: 0.1\nstorage: {nosuchdriver: {}}\nhttp: {addr: "{{addr}}"}\n',
  });
  expect((await failureOf(starting)).message).toContain('nosuchdriver');
});

test('a failing command shows its output, and one that hangs is ended', async () => {
  const failed = await failureOf(run('sh', ['-c', 'echo seen; exit 3']));
  expect(failed.message).toMatch(/exited with 3[^]*seen/);
  const late = await failureOf(run('sleep', ['60'], { timeout: 50 }));
  expect(late.message).toContain('took longer than 50 ms');
  expect((await run('cat', [], { input: 'text' })).stdout).toBe('text');
});

test('what a test process leaves is ended and removed, even when it is killed', async () => {
  const workspace = await createWorkspace('left');
  const script = workspace.join('left.ts');
  await writeFile(
    script,
    `import { writeFile } from 'node:fs/promises';
import { pause } from './daemon.ts';
import { startDockerRegistry } from '${import.meta.dirname}/docker-registry.ts';
     const registry = await startDockerRegistry();
     console.log(registry.url, registry.dataDirectory);
     process.kill(process.pid, 'SIGKILL');`,
  );
  const died = await failureOf(run(process.execPath, [script]));
  const [, url = '', folder = ''] = /(http:\S+) (\S+)/.exec(died.message) ?? [];
  expect(folder).not.toBe('');
  while (existsSync(folder) || (await answersAt(url))) await pause(10);
  await workspace.remove();
});

async function answersAt(url: string): Promise<boolean> {
  return await fetch(url).then(
    () => true,
    () => false,
  );
}

test('a missing tool is named with the package that brings it', () => {
  expect(() => requireTool('no-such-tool')).toThrow(
    'apt-get install -y --no-install-recommends no-such-tool',
  );
});

test('a workspace is removed', async () => {
  const workspace = await createWorkspace();
  await workspace.folder('a', 'b');
  await workspace.remove();
  expect(existsSync(workspace.path)).toBe(false);
});

test.each([20, 24] as const)(
  'Node %d comes from npm',
  async (major) => {
    const { stdout } = await run(await nodeBinary(major), ['--version']);
    expect(stdout).toStartWith(`v${major}.`);
  },
  300_000,
);
