/** How a registry asks for a login: the `WWW-Authenticate` header that clients find the token service by. */
import { type ErrorEntry, RegistryError } from '../oci/errors.ts';
import type { Requester, Scope } from './access.ts';

/** What is wrong with the token that was sent (RFC 6750 §3.1). */
export type TokenError = 'invalid_token' | 'insufficient_scope';

export interface BearerChallenge {
  /** The URL of the token service. */
  readonly realm: string;
  readonly service: string;
}

/** The scope as clients send it on to the token service. Who pushes also asks what is there, so push brings pull. */
export function formatScope(scope: Scope): string {
  if (scope.type !== 'repository') return 'registry:catalog:*';
  const actions = new Set<string>(
    scope.actions.includes('push') ? ['pull', ...scope.actions] : scope.actions,
  );
  return `repository:${scope.name}:${[...actions].join(',')}`;
}

/** The refusal that makes a client get a token for the scopes and come again. */
export function bearerRefusal(
  { realm, service }: BearerChallenge,
  scopes: readonly Scope[],
  error?: TokenError,
): RegistryError {
  const parameters = [
    `realm="${quoted(realm)}"`,
    `service="${quoted(service)}"`,
    ...(scopes.length === 0 ? [] : [`scope="${scopes.map(formatScope).join(' ')}"`]),
    ...(error === undefined ? [] : [`error="${error}"`]),
  ];
  return unauthorized(`Bearer ${parameters.join(',')}`, scopes);
}

/** The refusal that makes a client send its name and password. */
export function basicRefusal(realm: string, scopes: readonly Scope[]): RegistryError {
  return unauthorized(`Basic realm="${quoted(realm)}"`, scopes);
}

function unauthorized(challenge: string, scopes: readonly Scope[]): RegistryError {
  return new RegistryError('UNAUTHORIZED', 'authentication required', {
    headers: { 'WWW-Authenticate': challenge },
    detail: detailOf(scopes),
  });
}

/** In the form of distribution (registry/auth): clients print it. */
function detailOf(scopes: readonly Scope[]): ErrorEntry['detail'] {
  const detail = scopes.flatMap((scope) =>
    scope.type === 'repository'
      ? scope.actions.map((action) => ({ Type: 'repository', Class: '', Name: scope.name, Action: action }))
      : [{ Type: 'registry', Class: '', Name: 'catalog', Action: '*' }],
  );
  return detail.length === 0 ? undefined : detail;
}

function quoted(text: string): string {
  return text.replaceAll(/[\\"]/g, '\\$&').replaceAll(/[^\x20-\x7e]/g, '');
}

const HOST = /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/;

/**
 * Scheme and host by which the client reached us. Clients refuse a token service on another host (crane) or over plain
 * HTTP when they came by HTTPS. The answer goes to who sent the header and to nobody else.
 * @throws RegistryError 400 when there is no usable host
 */
export function originOf({ headers }: Request, { encrypted, host: told }: Requester): string {
  // Checks of load balancers come by HTTP/1.0 and name none; they want a 401 and no 400.
  const host = told ?? headers.get('host') ?? 'localhost';
  if (!HOST.test(host))
    throw new RegistryError('UNSUPPORTED', 'the Host header is not usable', { status: 400 });
  return `${encrypted ? 'https' : 'http'}://${host}`;
}
