import { stat } from 'node:fs/promises';
import { ConfigError, type LoadedConfig, loadConfig } from './load.ts';
import type { Environment } from './environment.ts';

/** How often the file is looked at, in milliseconds. Watching by the system misses renames and network folders. */
const LOOK_EVERY = 2_000;

/** What a file looked like: changes when it is written or replaced. */
export async function fileSignature(file: string): Promise<string> {
  try {
    const { mtimeMs, size, ino } = await stat(file);
    return `${mtimeMs} ${size} ${ino}`;
  } catch {
    return 'absent';
  }
}

export interface WatchOptions {
  readonly file: string;
  readonly env: Environment;
  /** The file's signature when the present configuration was read. */
  readonly since: string;
  /** Called with each new configuration that is right. */
  readonly onChange: (loaded: LoadedConfig) => void;
  /** Called when the file has become wrong. What was in force should stay so. */
  readonly onError: (error: ConfigError) => void;
  /** Milliseconds between two looks. */
  readonly every?: number;
}

/** Reads a configuration file again whenever it changes. @returns what ends it */
export function watchConfig({
  file,
  env,
  since,
  onChange,
  onError,
  every = LOOK_EVERY,
}: WatchOptions): () => void {
  let known = since;
  let over = false;
  let timer: NodeJS.Timeout | undefined;
  const look = async (): Promise<void> => {
    const now = await fileSignature(file);
    if (now !== known) {
      known = now;
      try {
        const loaded = await loadConfig({ file, env });
        if (!over) onChange(loaded);
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        if (!over) onError(error);
      }
    }
    next(every);
  };
  const next = (after: number) => {
    if (over) return;
    timer = setTimeout(() => void look(), after);
    timer.unref();
  };
  next(0);
  return () => {
    over = true;
    clearTimeout(timer);
  };
}
