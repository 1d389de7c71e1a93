import { UpstreamFailure } from './upstream-failure.ts';

/** Reads a whole answer that has to be small. @throws UpstreamFailure when it is not; `what` it was is in the message */
export async function readLimited(answer: Response, most: number, what: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of answer.body ?? []) {
    size += chunk.byteLength;
    if (size > most) throw new UpstreamFailure(`the upstream gave a ${what} of more than ${most} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
