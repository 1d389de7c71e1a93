import {
  expectBody,
  expectDigest,
  expectHeaderIs,
  expectNoBody,
  expectStatus,
  Unsupported,
} from './check.ts';
import { path } from './context.ts';
import type { Context } from './context.ts';
import type { Exchange } from './exchange.ts';
import { locationOf } from './push.ts';
import type { Blob } from './push.ts';
import { Kept } from './scenario.ts';
import type { Step } from './scenario.ts';

/** Pushes a blob in one of the ways. */
export type PushBlob = (context: Context, blob: Blob) => Promise<void>;

/** A push and what must be true afterwards: HEAD, GET, and DELETE that shows at once. */
export function lifecycle(name: string, content: () => Blob, push: PushBlob): readonly Step[] {
  const kept = new Kept<Blob>('blob');
  return [
    { name, run: async (context) => push(context, kept.set(content())) },
    {
      name: `${name}/blob-head`,
      needs: name,
      run: async (context) => {
        const answer = await context.head(path.blob(context.repository, kept.get().digest));
        expectStatus(answer, 200);
        expectNoBody(answer);
        expectHeaderIs(answer, 'Content-Length', String(kept.get().bytes.length));
        expectDigest(answer, kept.get().digest, context.digestRequired);
      },
    },
    {
      name: `${name}/blob-get`,
      needs: name,
      run: async (context) => {
        const answer = await context.get(path.blob(context.repository, kept.get().digest));
        expectStatus(answer, 200);
        expectBody(answer, kept.get().bytes);
        expectDigest(answer, kept.get().digest, context.digestRequired);
      },
    },
    {
      name: `${name}/blob-delete`,
      needs: name,
      run: async (context) => {
        const target = path.blob(context.repository, kept.get().digest);
        const answer = await context.delete(target);
        if (answer.status === 405) throw new Unsupported('the registry does not delete blobs');
        expectStatus(answer, 202, 404);
        expectStatus(await context.head(target), 404);
      },
    },
  ];
}

/** A blob is stored: 201 with a `Location` that it can be pulled from, and its digest. */
export async function expectStored(context: Context, answer: Exchange, blob: Blob): Promise<void> {
  expectStatus(answer, 201);
  expectDigest(answer, blob.digest, context.digestRequired);
  const pulled = await context.get(locationOf(context, answer));
  expectStatus(pulled, 200);
  expectBody(pulled, blob.bytes);
}
