import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Config, ConfigError, loadConfig } from '../../src/config/load.ts';

export type Env = Readonly<Record<string, string | undefined>>;

/** What came of a configuration: the config, or the lines of the error. Files are called `config.yml` in both. */
export interface Outcome {
  readonly config: Config | undefined;
  readonly problems: readonly string[];
  readonly warnings: readonly string[];
}

/** Loads `yaml` as a file called `config.yml`. Throws whatever is no ConfigError. */
export async function load(yaml: string | Uint8Array, env: Env = {}): Promise<Outcome> {
  const folder = await mkdtemp(join(tmpdir(), 'config-'));
  const plain = (lines: readonly string[]) => lines.map((line) => line.replaceAll(`${folder}/`, ''));
  try {
    const file = join(folder, 'config.yml');
    await writeFile(file, yaml);
    const { config, warnings } = await loadConfig({ file, env });
    return { config, problems: [], warnings: plain(warnings) };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { config: undefined, problems: plain(error.message.split('\n')), warnings: plain(error.warnings) };
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** The config of a file that must be right. */
export async function loaded(yaml: string, env: Env = {}): Promise<Config> {
  const { config, problems } = await load(yaml, env);
  if (config === undefined) throw new Error(problems.join('\n'));
  return config;
}

/** A file with one setting besides what every file needs: `minimal('http: {addr: :80}')`. */
export function minimal(...lines: readonly string[]): string {
  return `${['version: 0.1', 'storage: inmemory', ...lines].join('\n')}\n`;
}
