import { run } from '../harness/tools.ts';

/** A small file system in memory. */
export interface Tmpfs {
  readonly path: string;
  /** Mounts it anew with these options, e.g. `ro` or `size=2m`. */
  remount(options: string): Promise<void>;
  /** May be called twice. */
  unmount(): Promise<void>;
}

/**
 * Mounts a file system of that size (as tmpfs writes it: `1m`) on a folder.
 * @throws Error that says what is needed where mounting is not allowed
 */
export async function mountTmpfs(folder: string, size: string): Promise<Tmpfs> {
  const mounted = await run(
    'mount',
    ['-t', 'tmpfs', '-o', `size=${size},mode=0755`, 'entrepot-test', folder],
    {
      mayFail: true,
    },
  );
  if (mounted.code !== 0) {
    throw new Error(
      `cannot mount a tmpfs on ${folder}, and this test needs it: run it as root with CAP_SYS_ADMIN ` +
        `(in a container: --cap-add SYS_ADMIN). mount said: ${mounted.stderr.trim()}`,
    );
  }
  let there = true;
  return {
    path: folder,
    remount: async (options) => {
      await run('mount', ['-o', `remount,${options}`, folder]);
    },
    unmount: async () => {
      if (!there) return;
      there = false;
      // Lazily: a process that was just killed may not have let go yet.
      await run('umount', ['--lazy', folder]);
    },
  };
}
