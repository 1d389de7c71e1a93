import { ObjectNotFound, StorageFailure } from '../driver.ts';

/** Codes that mean "nothing is there", also when a component of the path is a file. */
const ABSENT = new Set(['ENOENT', 'ENOTDIR']);

const ADVICE: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EROFS: 'the file system is mounted read-only',
  EACCES: 'this user may not write there',
  EPERM: 'the operation is not permitted',
  EIO: 'the disk reported an input/output error',
  EMFILE: 'this process has too many open files (raise its limit, `ulimit -n`)',
  ENFILE: 'the system has too many open files',
  EFBIG: 'the file would be too large for the file system or its limit',
  ESTALE: 'the network file system lost the file',
  ENOTDIR: 'there is a file where a folder is needed',
  EEXIST: 'there is a file where a folder is needed',
  EISDIR: 'there is a folder where a file is needed',
  EXDEV:
    'it is on another file system than the folder that everything is written in first: only the whole root directory, or `docker` in it, can be on another disk',
  ENOENT: 'its folder is removed again and again while it is written',
};

/** The system's code of an error, e.g. `ENOENT`; undefined for errors that are not the system's. */
export function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : undefined;
}

export function isAbsent(error: unknown): boolean {
  const code = codeOf(error);
  return code !== undefined && ABSENT.has(code);
}

/** The driver's own error for a failed system call on `key`; errors of any other kind come back as they are. */
export function storageError(error: unknown, key: string, path: string): unknown {
  const code = codeOf(error);
  if (code === undefined || error instanceof StorageFailure) return error;
  if (ABSENT.has(code)) return new ObjectNotFound(key);
  return systemFailure(error, path);
}

/** As `storageError`, where an absent object is none of the reasons that a call can fail for. */
export function systemFailure(error: unknown, path: string): unknown {
  const code = codeOf(error);
  if (code === undefined || error instanceof StorageFailure) return error;
  const advice = ADVICE[code];
  return new StorageFailure(`${path}: ${advice ?? (error as Error).message} (${code})`, code, error);
}
