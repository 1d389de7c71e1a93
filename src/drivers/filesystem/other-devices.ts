import { statSync } from 'node:fs';

/**
 * Those of the folders below `root` that are on another file system than `own`, in which what is written gets its bytes: nothing
 * can be renamed from there to them. What is not there, or cannot be looked at, is on none.
 */
export function onOtherDevices(root: string, own: string, folders: readonly string[]): readonly string[] {
  const device = deviceOf(`${root}/${own}`);
  if (device === undefined) return [];
  return folders.filter((folder) => (deviceOf(`${root}/${folder}`) ?? device) !== device);
}

function deviceOf(path: string): number | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })?.dev;
  } catch {
    return undefined; // who uses it is told
  }
}
