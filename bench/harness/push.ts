import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { blobFolder } from './content.ts';
import { transfer } from './curl.ts';
import { closingAddress, openUpload, requestOk } from './http.ts';
import type { Server } from './server.ts';

/** `patch`: POST, chunked PATCH, PUT (docker, podman). `put`: POST and one PUT with a length (containerd). */
export type PushWay = 'patch' | 'put';

/** A file to push, with its digest. */
export interface Upload {
  readonly file: string;
  readonly digest: string;
}

/**
 * Pushes one blob and gives the time of all its requests, in seconds.
 * @throws Error when a step is refused.
 */
export async function pushBlob(
  server: Server,
  repository: string,
  blob: Upload,
  way: PushWay,
): Promise<number> {
  const begin = performance.now();
  const location = await openUpload(server.origin, repository);
  const opening = (performance.now() - begin) / 1000;
  if (way === 'put') {
    const url = closingAddress(location, blob.digest);
    const put = await transfer({
      url,
      expected: 201,
      upload: { file: blob.file, method: 'PUT', chunked: false },
    });
    return opening + put.seconds;
  }
  const body = { file: blob.file, method: 'PATCH', chunked: true } as const;
  const patch = await transfer({ url: location, expected: 202, upload: body });
  const closing = performance.now();
  const next = new URL(patch.location, location).href;
  await requestOk('PUT', closingAddress(next, blob.digest), 201);
  return opening + patch.seconds + (performance.now() - closing) / 1000;
}

/** Removes a pushed blob from the server's disk. Not part of any time: freeing 512 MiB costs the disk a while. */
export async function forgetBlob(server: Server, digest: string): Promise<void> {
  await rm(join(server.root, blobFolder(digest)), { recursive: true });
}
