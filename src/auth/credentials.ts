/** What a request brings to prove who made it: the Authorization header (RFC 9110 §11, RFC 7617, RFC 6750). */
import { RegistryError } from '../oci/errors.ts';
import type { Credentials } from './identity.ts';

/** A longer header is refused before it is looked at; the largest tokens of known issuers have 4 KiB. */
const MAX_HEADER = 16 * 1024;

const SCHEME = /^([A-Za-z]+) +(\S+)$/;
const BASE64 = /^[A-Za-z0-9+/_-]+={0,2}$/;

type Sent = Exclude<Credentials, { kind: 'certificate' }>;

/**
 * The request's credentials; undefined when it brings none.
 * @throws RegistryError `UNAUTHORIZED` for a header that is no Basic and no Bearer credential
 */
export function credentialsOf(request: Request): Sent | undefined {
  const header = request.headers.get('authorization');
  if (header === null || header === '') return undefined;
  if (header.length > MAX_HEADER) throw unreadable();
  const [, scheme = '', value = ''] = SCHEME.exec(header) ?? [];
  if (scheme.toLowerCase() === 'bearer') return { kind: 'bearer', token: value };
  if (scheme.toLowerCase() === 'basic') return basicCredentials(value);
  throw unreadable();
}

/** RFC 7617: the first colon ends the account's name; the password may hold more of them, and any UTF-8. */
function basicCredentials(value: string): Sent {
  if (!BASE64.test(value)) throw unreadable();
  const text = Buffer.from(value, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  if (colon < 0) throw unreadable();
  return { kind: 'password', account: text.slice(0, colon), password: text.slice(colon + 1) };
}

function unreadable(): RegistryError {
  return new RegistryError('UNAUTHORIZED', 'the Authorization header is not a Basic or Bearer credential');
}
