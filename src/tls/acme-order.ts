/** Asks an ACME directory (RFC 8555) for a certificate. */
import { X509Certificate } from 'node:crypto';
import { Agent } from 'node:https';
import type { Authorization, Client, CryptoInterface } from 'acme-client';
import { newKey } from './acme-folder.ts';
import type { Responder } from './responders.ts';

/** A request without an answer is given up after so many milliseconds. */
const REQUEST_TIMEOUT = 30_000;
/** What a directory sends is a few kilobytes. */
const MAX_ANSWER = 1024 * 1024;
/** Looks at a challenge or an order that is being worked at: at first after `min` milliseconds, then less often. */
const LOOKS = { backoffAttempts: 24, backoffMin: 500, backoffMax: 10_000 };
/** Some directories refuse nonces at random so that clients learn to come again; the library's 5 are too few for that. */
const NONCE_RETRIES = 30;

/** What the directory, or the way to it, has against us. */
export class DirectoryProblem extends Error {
  override readonly name = 'DirectoryProblem';
  /** The last part of the problem's type (RFC 8555 §6.7), such as `rateLimited`; `''` where nothing was told. */
  readonly type: string;
  /** Milliseconds that we are told to wait; 0 where nothing was told. */
  readonly retryAfter: number;

  constructor(message: string, type = '', retryAfter = 0) {
    super(message);
    this.type = type;
    this.retryAfter = retryAfter;
  }
}

export interface AcmeOrder {
  readonly directoryUrl: string;
  /** PEM: the authorities by which the directory's own TLS is verified, instead of the well-known ones. */
  readonly ca?: string | undefined;
  /** The HTTP proxy by which a URL is reached; by default none. */
  readonly proxyFor?: (url: URL) => URL | undefined;
  readonly email?: string | undefined;
  /** Binds our account to one that the directory knows from elsewhere (RFC 8555 §7.3.4); the key is base64url. */
  readonly eab?: { readonly kid: string; readonly hmacKey: string } | undefined;
  /** PEM. */
  readonly accountKey: string;
  /** What the certificate is to be for, in lower case. Nothing else is ever asked for. */
  readonly hosts: readonly string[];
  readonly responder: Responder;
}

/** PEM texts. */
export interface Signed {
  /** With its chain. */
  readonly certificate: string;
  readonly key: string;
}

/**
 * A new certificate for a new key. Using it is agreeing to the directory's terms of service.
 * @throws DirectoryProblem
 * @throws Error when the answer to a challenge could not be put in its place
 */
export async function orderCertificate(order: AcmeOrder): Promise<Signed> {
  const { Client: AcmeClient, crypto } = await openLibrary(order);
  const { directoryUrl, accountKey, hosts, eab } = order;
  const open = (externalAccountBinding: AcmeOrder['eab']): Client =>
    withNonceRetries(
      new AcmeClient({
        directoryUrl,
        accountKey,
        ...(externalAccountBinding === undefined ? {} : { externalAccountBinding }),
        ...LOOKS,
      }),
    );
  const client = await openAccount(open, eab, order.email);
  const placed = await client.createOrder({ identifiers: hosts.map((value) => ({ type: 'dns', value })) });
  // One after the other: a wildcard and its domain share the name of their DNS record.
  for (const authorization of await client.getAuthorizations(placed)) {
    if (authorization.status !== 'valid') await prove(client, authorization, order.responder);
  }
  const key = newKey();
  const [, request] = await crypto.createCsr({ altNames: [...hosts] }, key);
  const finalized = await client.finalizeOrder(placed, request);
  const certificate = await client.getCertificate(finalized);
  const missing = namesMissing(certificate, hosts);
  if (missing.length > 0) {
    throw new DirectoryProblem(`the directory signed a certificate that is not for ${missing.join(', ')}`);
  }
  return { certificate, key };
}

/** Which of the hosts the certificate is not for. Names are compared as they are written: a wildcard is a name. */
export function namesMissing(
  certificate: string | X509Certificate,
  hosts: readonly string[],
): readonly string[] {
  const { subjectAltName = '' } =
    certificate instanceof X509Certificate ? certificate : new X509Certificate(certificate);
  const names = new Set(subjectAltName.split(', ').map((name) => name.toLowerCase()));
  return hosts.filter((host) => !names.has(`dns:${host}`));
}

interface Library {
  readonly Client: typeof Client;
  readonly crypto: CryptoInterface;
}

/** The library with its HTTP client made ours: no retries that nobody sees, limits, and the directory's own words. */
async function openLibrary({ ca, proxyFor }: AcmeOrder): Promise<Library> {
  // It uses X.509, which is to be made ready first.
  await import('./x509.ts');
  const { Client: AcmeClient, crypto, axios } = await import('acme-client');
  axios.interceptors.request.clear();
  axios.interceptors.response.clear();
  const { defaults } = axios;
  defaults.maxContentLength = MAX_ANSWER;
  defaults.httpsAgent = ca === undefined ? undefined : new Agent({ ca });
  defaults.headers.common['User-Agent'] = 'entrepot (acme-client)';
  // The library's own limit is for the beginning of an answer alone.
  axios.interceptors.request.use((config) => {
    const url = config.url === undefined ? undefined : new URL(config.url);
    const via = url === undefined ? undefined : proxyFor?.(url);
    return Object.assign(config, {
      signal: AbortSignal.timeout(REQUEST_TIMEOUT),
      // Its own reading of the environment has another NO_PROXY than everything else here.
      proxy: via === undefined ? false : proxyOf(via),
    });
  });
  axios.interceptors.response.use(
    (response) => {
      const { status, headers } = response;
      const data: unknown = response.data;
      const { type = '', detail = '' } = isProblem(data) ? data : {};
      const short = type.split(':').at(-1) ?? '';
      if (status < 400 || short === 'badNonce') return response;
      const wait = retryAfter(headers['retry-after']);
      throw new DirectoryProblem(detail === '' ? `the directory answers ${status}` : detail, short, wait);
    },
    (error: unknown) => {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === 'ERR_CANCELED') {
        const within = `${REQUEST_TIMEOUT / 1000} s`;
        throw new DirectoryProblem(`the directory has not answered within ${within}`, 'unreachable');
      }
      const told = [code, message].filter((part) => part !== undefined && part !== '').join(': ');
      throw new DirectoryProblem(`the directory cannot be reached: ${told}`, 'unreachable');
    },
  );
  return { Client: AcmeClient, crypto };
}

/** As axios wants it. */
function proxyOf({ protocol, hostname, port, username, password }: URL): object {
  const auth = { username: decodeURIComponent(username), password: decodeURIComponent(password) };
  return {
    protocol,
    host: hostname.replace(/^\[|\]$/g, ''),
    port: port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port),
    ...(username === '' ? {} : { auth }),
  };
}

function isProblem(data: unknown): data is { readonly type?: string; readonly detail?: string } {
  if (typeof data !== 'object' || data === null) return false;
  const { type, detail } = data as Record<string, unknown>;
  return ['string', 'undefined'].includes(typeof type) && ['string', 'undefined'].includes(typeof detail);
}

/** RFC 9110 §10.2.3: seconds, or a date. In milliseconds; 0 for what is neither. */
export function retryAfter(header: unknown, now = Date.now()): number {
  if (typeof header !== 'string') return 0;
  const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - now;
  return Number.isFinite(ms) ? Math.max(0, ms) : 0;
}

function withNonceRetries(client: Client): Client {
  // Not in the library's declarations; its version is pinned.
  const { http } = client as unknown as { readonly http: { maxBadNonceRetries: number } };
  http.maxBadNonceRetries = NONCE_RETRIES;
  return client;
}

/**
 * Our account, made when there is none. A binding is for the making alone, and some directories take it once only.
 */
async function openAccount(
  open: (eab: AcmeOrder['eab']) => Client,
  eab: AcmeOrder['eab'],
  email: string | undefined,
): Promise<Client> {
  const contact = email === undefined ? [] : [`mailto:${email}`];
  const known = open(undefined);
  try {
    const account = await known.createAccount({ onlyReturnExisting: true });
    if (email !== undefined && String(account.contact) !== String(contact))
      await known.updateAccount({ contact });
    return known;
  } catch (error) {
    if (!(error instanceof DirectoryProblem) || error.type !== 'accountDoesNotExist') throw error;
  }
  const client = open(eab);
  await client.createAccount({ termsOfServiceAgreed: true, contact });
  return client;
}

/** Shows the directory that a name is ours. */
async function prove(client: Client, authorization: Authorization, responder: Responder): Promise<void> {
  const { identifier, challenges } = authorization;
  const domain = identifier.value;
  const challenge = challenges.find(({ type }) => type === responder.type);
  if (challenge === undefined) {
    const offered = challenges.map(({ type }) => type).join(', ');
    throw new DirectoryProblem(`${domain}: the directory does not offer ${responder.type}, but ${offered}`);
  }
  const keyAuthorization = await client.getChallengeKeyAuthorization(challenge);
  const question = { domain, token: challenge.token, keyAuthorization };
  try {
    await responder.present(question);
    if (challenge.status === 'pending') await client.completeChallenge(challenge);
    await client.waitForValidStatus(challenge);
  } catch (error) {
    if (error instanceof DirectoryProblem) throw error;
    throw new DirectoryProblem(`${domain}: ${responder.type}: ${(error as Error).message}`, 'unauthorized');
  } finally {
    // An answer that stays does no harm; a failure to take it away must not hide what is wrong.
    await responder.cleanUp(question).catch(() => undefined);
  }
}
