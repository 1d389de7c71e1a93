/** A registry that fails on demand: passes all on to a real one, notes what was asked, and breaks what a rule says. */
import {
  createServer as createPlain,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  request,
  type ServerResponse,
} from 'node:http';
import { createServer as createSecure, request as secureRequest } from 'node:https';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { pause } from './daemon.ts';

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

/** A running proxy. */
export interface FaultProxy {
  /** `http://127.0.0.1:PORT` or `https://…`, without a slash at the end. */
  readonly url: string;
  readonly host: string;
  /** Its own token service, which gives everybody a token that is worth nothing. */
  readonly endlessRealm: string;
  /** Every request, in the order of their coming, also those that a rule answered. */
  readonly asked: readonly Asked[];
  /** For each path (without its query) that matches, how many GET requests were answered with content: 200 or 206. */
  gets(pattern: RegExp): ReadonlyMap<string, number>;
  /** From now on answers that `when` chooses (all unless given) are broken so. A later rule is asked before an earlier. */
  inject(fault: Fault, when?: Predicate): void;
  /** Ends all faults. What hangs is closed, what trickles flows. */
  heal(): void;
  /** Closes the port and all connections, as a server that is stopped. */
  refuse(): Promise<void>;
  /** Opens the same port again. */
  accept(): Promise<void>;
  close(): Promise<void>;
}

/** What a proxy needs to speak TLS on both sides, in PEM. */
export interface FaultProxyTls {
  readonly key: string;
  readonly cert: string;
  readonly ca: string;
}

/** Starts one on 127.0.0.1 before the registry at `upstream`, which gets the Host header as the client sent it. */
export async function startFaultProxy(upstream: string, tls?: FaultProxyTls): Promise<FaultProxy> {
  const asked: Asked[] = [];
  let rules: { readonly fault: Fault; readonly when: Predicate }[] = [];
  let healed = Promise.withResolvers<void>();

  const answer = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const { method = '', url: target = '', headers } = incoming;
    const { authorization, range } = headers;
    const question = { method, target, authorization, range, status: 0 };
    asked.push(question);
    const begin = (status: number, fields: OutgoingHttpHeaders) => {
      question.status = status;
      return outgoing.writeHead(status, fields);
    };
    if (target.startsWith('/endless-token')) return void outgoing.end('{"token":"worthless"}');
    const fault = rules.findLast(({ when }) => when(question))?.fault;
    const until = healed.promise;
    if (fault?.kind === 'hang') {
      await until;
      return void outgoing.destroy();
    }
    const head = fault === undefined ? undefined : headOf(fault, target);
    if (head !== undefined) return void begin(head.status, head.headers).end();
    const forwarded = { ...headers };
    if (fault?.kind === 'ignore-range') delete forwarded.range;
    const open = upstream.startsWith('https:') ? secureRequest : request;
    const onward = open(new URL(target, upstream), {
      method,
      headers: forwarded,
      agent: false,
      ca: tls?.ca,
    });
    const came = new Promise<IncomingMessage>((resolve, reject) => {
      onward.once('response', resolve).once('error', reject);
    });
    // Not awaited: a registry may answer before it has read all.
    pipeline(incoming, onward).catch(() => onward.destroy());
    const source = await came;
    begin(source.statusCode ?? 502, source.headers);
    if (fault === undefined || method === 'HEAD') await pipeline(source, outgoing);
    else await pipeline(source, (body) => broken(body, fault, until), outgoing);
  };
  const listener = (incoming: IncomingMessage, outgoing: ServerResponse) => {
    // A client that leaves, a registry that is away, a fault that cuts: for the client all are a closed connection.
    answer(incoming, outgoing).catch(() => outgoing.destroy());
  };

  const listen = async (port: number) => {
    const made = tls === undefined ? createPlain(listener) : createSecure(tls, listener);
    await new Promise<void>((resolve, reject) => {
      made.once('error', reject);
      made.listen(port, '127.0.0.1', resolve);
    });
    return made;
  };
  let server = await listen(0);
  const { port } = server.address() as AddressInfo;
  const host = `127.0.0.1:${port}`;
  const url = `${tls === undefined ? 'http' : 'https'}://${host}`;
  const heal = () => {
    rules = [];
    healed.resolve();
    healed = Promise.withResolvers();
  };
  const refuse = async () => {
    if (!server.listening) return;
    const closed = new Promise<void>((resolve) => {
      server.close(() => resolve());
    });
    server.closeAllConnections();
    await closed;
  };
  return {
    url,
    host,
    endlessRealm: `${url}/endless-token`,
    asked,
    gets: (pattern) => {
      const counts = new Map<string, number>();
      for (const { method, target, status } of asked) {
        const path = target.replace(/\?.*/, '');
        if (method !== 'GET' || (status !== 200 && status !== 206) || !pattern.test(path)) continue;
        counts.set(path, (counts.get(path) ?? 0) + 1);
      }
      return counts;
    },
    inject: (fault, when = () => true) => void rules.push({ fault, when }),
    heal,
    refuse,
    accept: async () => {
      if (!server.listening) server = await listen(port);
    },
    close: async () => {
      heal();
      await refuse();
    },
  };
}

/** The answer of a fault that asks nothing of the registry. */
function headOf(
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

/** The body as the fault makes it. @throws Error where the connection is to end before the body does */
async function* broken(
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
