/** A registry that fails on demand: passes all on to a real one, notes what was asked, and breaks what a rule says. */
import {
  createServer as createPlain,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  request,
  type ServerResponse,
} from 'node:http';
import { createServer as createSecure, request as secureRequest } from 'node:https';
import { pipeline } from 'node:stream/promises';
import { freePort } from './ports.ts';
import { type Asked, broken, type Fault, headOf, type Predicate } from './fault.ts';

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
  const port = await freePort(); // kept while it refuses
  let server = await listen(port);
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
