/** How an upstream can fail, and what becomes of its answers then. */
import { pause } from './waiting.ts';

/** A request as the proxy got it. */
export interface Asked {
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  /** The header; undefined where there was none. */
  readonly authorization: string | undefined;
  readonly range: string | undefined;
  /** Of the answer; 0 while there is none. */
  readonly status: number;
}

/** How an answer is broken. Those of bodies leave answers to HEAD as they are. */
export type Fault =
  /** This status with an empty body, and nothing is asked of the registry. */
  | {
      readonly kind: 'status';
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
    }
  /** 401 that names a token service, whatever token comes. `endlessRealm` gives a token to everybody: a loop. */
  | { readonly kind: 'challenge'; readonly realm: string }
  /** 307 to the same path at another origin (`http://127.0.0.1:PORT`), with the query `moved`. */
  | { readonly kind: 'redirect'; readonly to: string }
  /** No answer at all, until the fault ends; the connection is closed then. */
  | { readonly kind: 'hang' }
  /** The head and at most so many bytes, and no more until the fault ends; the connection is closed then. */
  | { readonly kind: 'hang-after'; readonly bytes: number }
  /** The head with the true length, at most so many bytes, and the end of the connection. */
  | { readonly kind: 'cut-after'; readonly bytes: number }
  /** All bytes but the one at this place, counted from 0, as they are; of that one a bit is turned. */
  | { readonly kind: 'flip'; readonly at: number }
  /** A byte a second until the fault ends, then the rest at once. */
  | { readonly kind: 'trickle' }
  /** The whole with 200, as by a server that knows no ranges. */
  | { readonly kind: 'ignore-range' };

/** What of the traffic a fault is for. */
export type Predicate = (asked: Asked) => boolean;

/** Questions for blobs, and for manifests. */
export const ofBlobs: Predicate = ({ target }) => /\/blobs\/sha256:/.test(target);
export const ofManifests: Predicate = ({ target }) => /\/manifests\//.test(target);
/** What comes by a redirect. */
export const ofMoved: Predicate = ({ target }) => target.endsWith('?moved');

/** The answer of a fault that asks nothing of the registry; undefined for those that break the registry's own. */
export function headOf(
  fault: Fault,
  target: string,
): { status: number; headers: Record<string, string> } | undefined {
  const empty = { 'content-length': '0' };
  if (fault.kind === 'status') return { status: fault.status, headers: { ...empty, ...fault.headers } };
  if (fault.kind === 'redirect')
    return { status: 307, headers: { ...empty, location: `${fault.to}${target.replace(/\?.*/, '')}?moved` } };
  if (fault.kind !== 'challenge') return undefined;
  const challenge = `Bearer realm="${fault.realm}",service="fault",scope="repository:lib/app:pull"`;
  return { status: 401, headers: { ...empty, 'www-authenticate': challenge } };
}

/** The body as the fault makes it; `healed` is fulfilled when the fault ends. @throws Error where the connection is to end before the body does */
export async function* broken(
  body: AsyncIterable<Buffer>,
  fault: Fault,
  healed: Promise<void>,
): AsyncGenerator<Buffer> {
  let at = 0;
  for await (const chunk of body) {
    if (fault.kind === 'flip' && at <= fault.at && fault.at < at + chunk.length) {
      const copy = Buffer.from(chunk);
      copy[fault.at - at] = (copy[fault.at - at] ?? 0) ^ 1;
      yield copy;
    } else if (
      (fault.kind === 'hang-after' || fault.kind === 'cut-after') &&
      at + chunk.length > fault.bytes
    ) {
      yield chunk.subarray(0, fault.bytes - at);
      // What was given before the end of a connection is only sure to leave when it has had a moment.
      await (fault.kind === 'hang-after' ? healed : pause(50));
      throw new Error('the fault ends the connection here');
    } else if (fault.kind === 'trickle') {
      yield* trickled(chunk, healed);
    } else yield chunk;
    at += chunk.length;
  }
}

async function* trickled(chunk: Buffer, healed: Promise<void>): AsyncGenerator<Buffer> {
  let over = false;
  const end = healed.then(() => (over = true));
  for (let at = 0; at < chunk.length; at += 1) {
    if (over) return yield chunk.subarray(at);
    yield chunk.subarray(at, at + 1);
    await Promise.race([pause(1000), end]);
  }
}
