import { stat } from 'node:fs/promises';
import { type LoadedConfig, loadConfig } from './load.ts';
import type { Environment } from './environment.ts';

/** How often the file is looked at, in milliseconds. Watching by the system misses renames and network folders. */
const LOOK_EVERY = 2_000;

/** What a file looked like: changes when it is written or replaced, also by what keeps its times, or when its rights change. */
export async function fileSignature(file: string): Promise<string> {
  try {
    const { mtimeMs, ctimeMs, size, ino } = await stat(file);
    return `${mtimeMs} ${ctimeMs} ${size} ${ino}`;
  } catch {
    return 'absent';
  }
}

/** A pipe may be read at the start; when it is looked at again, nobody may ever write to it. @throws Error */
async function refuseUnended(file: string): Promise<void> {
  const found = await stat(file).catch(() => undefined);
  if (found === undefined || found.isFile() || found.isDirectory()) return;
  throw new Error(`${file}: it is no file any more that can be read again`);
}

export interface WatchOptions {
  readonly file: string;
  readonly env: Environment;
  /** The file's signature when the present configuration was read. */
  readonly since: string;
  /**
   * Called with each new configuration that is right. One that cannot be used is read again at each look, as what it lacks
   * may come; `isAgain` then. @returns whether it is in force
   */
  readonly onChange: (loaded: LoadedConfig, isAgain: boolean) => boolean;
  /** Called when the file has become wrong, once for each reason. What was in force should stay so. */
  readonly onError: (error: Error) => void;
  /** Milliseconds between two looks. */
  readonly every?: number;
}

/** A file that is looked at. */
export interface ConfigWatch {
  /** Looks at it now; resolves when what it says has been told. Never rejects. */
  look(): Promise<void>;
  stop(): void;
}

/** Reads a configuration file again whenever it changes. */
export function watchConfig({
  file,
  env,
  since,
  onChange,
  onError,
  every = LOOK_EVERY,
}: WatchOptions): ConfigWatch {
  let known = since;
  /** Of what the file says now: whether it is in force, and why it could not be read. */
  let isInForce = true;
  let wrong = '';
  let over = false;
  let timer: NodeJS.Timeout | undefined;
  const look = async (): Promise<void> => {
    const now = await fileSignature(file);
    const isAgain = now === known;
    if (isAgain && isInForce) return;
    known = now;
    isInForce = false;
    try {
      await refuseUnended(file);
      const loaded = await loadConfig({ file, env });
      if (!over) isInForce = onChange(loaded, isAgain && wrong === '');
      wrong = '';
    } catch (thrown) {
      // Whatever it is: the server goes on with what it has.
      const error = thrown instanceof Error ? thrown : new Error(String(thrown));
      if (!over && !(isAgain && error.message === wrong)) onError(error);
      wrong = error.message;
    }
  };
  /** One after the other: one that began before the file was written would tell of what it was. */
  let looking = Promise.resolve();
  const lookInTurn = (): Promise<void> => (looking = looking.then(look));
  const next = (after: number) => {
    if (over) return;
    timer = setTimeout(() => void lookInTurn().then(() => next(every)), after);
    timer.unref();
  };
  next(0);
  return {
    look: lookInTurn,
    stop() {
      over = true;
      clearTimeout(timer);
    },
  };
}
