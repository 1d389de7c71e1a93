/** Logins by an LDAP directory: the account is searched for, and then logged in to with the password that was sent. */
import { createHmac, randomBytes } from 'node:crypto';
import { rootCertificates } from 'node:tls';
import { Client, InvalidCredentialsError, type Entry } from 'ldapts';
import {
  AuthenticationUnavailable,
  type Authenticator,
  type Credentials,
  type Identity,
  isAccountName,
} from './identity.ts';

export interface LdapOptions {
  /** `ldaps://` or `ldap://`. */
  readonly url: string;
  readonly startTls: boolean;
  /** Text of a PEM file with authorities beside the usual ones. */
  readonly ca?: string | undefined;
  /** The account that searches; without it nobody in particular does. */
  readonly bindDn?: string | undefined;
  readonly bindPassword?: string | undefined;
  readonly baseDn: string;
  /** With `${account}` in it. */
  readonly userFilter: string;
  /** The attribute that lists names or DNs of groups; `''` for none. */
  readonly groupAttribute: string;
  readonly timeoutMs: number;
}

/** How long a login is not asked about again, in milliseconds: a push is many requests. */
const REMEMBERED_FOR = 60_000;
const MAX_REMEMBERED = 5_000;
/** Logins that ask the directory at the same moment. */
const MAX_RUNNING = 32;
const MAX_PASSWORD = 1024;

export class LdapDirectory implements Authenticator {
  readonly #options: LdapOptions;
  readonly #key = randomBytes(32);
  readonly #remembered = new Map<string, { readonly identity: Identity; readonly until: number }>();
  readonly #running = new Map<string, Promise<Identity | 'refused' | undefined>>();

  constructor(options: LdapOptions) {
    this.#options = options;
  }

  async authenticate(credentials: Credentials): Promise<Identity | 'refused' | undefined> {
    if (credentials.kind !== 'password') return undefined;
    const { account, password } = credentials;
    // A bind with an empty password succeeds for any name in many directories (RFC 4513 §5.1.2).
    if (password === '' || password.length > MAX_PASSWORD || password.includes('\0')) return 'refused';
    if (!isAccountName(account)) return undefined;
    const key = createHmac('sha256', this.#key)
      .update(`${account.length}:${account}${password}`)
      .digest('base64');
    const known = this.#remembered.get(key);
    if (known !== undefined && known.until > Date.now()) return known.identity;
    this.#remembered.delete(key);
    let running = this.#running.get(key);
    if (running === undefined) {
      if (this.#running.size >= MAX_RUNNING)
        throw new AuthenticationUnavailable('too many logins wait for the directory');
      running = this.#logIn(account, password).finally(() => this.#running.delete(key));
      this.#running.set(key, running);
    }
    const answer = await running;
    if (answer !== undefined && answer !== 'refused') this.#remember(key, answer);
    return answer;
  }

  async #logIn(account: string, password: string): Promise<Identity | 'refused' | undefined> {
    const { url, startTls, ca, bindDn, bindPassword, baseDn, timeoutMs } = this.#options;
    const tls = ca === undefined ? {} : { ca: [...rootCertificates, ca] };
    const secure = url.startsWith('ldaps:') ? { tlsOptions: { ...tls, host: new URL(url).hostname } } : {};
    const client = new Client({ url, timeout: timeoutMs, connectTimeout: timeoutMs, ...secure });
    try {
      if (startTls) await client.startTLS({ ...tls, host: new URL(url).hostname });
      if (bindDn !== undefined) await client.bind(bindDn, bindPassword ?? '');
      const entry = await this.#find(client, account);
      try {
        // For an unknown account too, so that the time does not tell it from a wrong password.
        await client.bind(entry?.dn ?? `cn=${randomBytes(8).toString('hex')},${baseDn}`, password);
        if (entry === undefined) return undefined;
      } catch (error) {
        if (entry === undefined) return undefined;
        if (error instanceof InvalidCredentialsError) return 'refused';
        throw error;
      }
      return { account, groups: this.#groupsIn(entry), method: 'ldap' };
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new AuthenticationUnavailable(`${url}: ${reason}`, { cause: error });
    } finally {
      await client.unbind().catch(() => undefined);
    }
  }

  /** The one entry of that account; of two it cannot be told which is meant. */
  async #find(client: Client, account: string): Promise<Entry | undefined> {
    const { baseDn, userFilter, groupAttribute, timeoutMs } = this.#options;
    const { searchEntries } = await client.search(baseDn, {
      scope: 'sub',
      filter: userFilter.replaceAll('${account}', escaped(account)),
      attributes: groupAttribute === '' ? ['1.1'] : [groupAttribute],
      sizeLimit: 2,
      timeLimit: Math.ceil(timeoutMs / 1000),
    });
    return searchEntries.length === 1 ? searchEntries[0] : undefined;
  }

  /** Of the DN of a group its first value (`cn=dev,ou=groups,…` is `dev`); other values as they are. */
  #groupsIn(entry: Entry): readonly string[] {
    const value = entry[this.#options.groupAttribute];
    const values = Array.isArray(value) ? value : value === undefined ? [] : [value];
    return [...new Set(values.map((one) => nameOf(String(one))))].filter((name) => name !== '');
  }

  #remember(key: string, identity: Identity): void {
    this.#remembered.set(key, { identity, until: Date.now() + REMEMBERED_FOR });
    for (const oldest of this.#remembered.keys()) {
      if (this.#remembered.size <= MAX_REMEMBERED) break;
      this.#remembered.delete(oldest);
    }
  }
}

/** RFC 4515 §3: what means something in a filter, and all that is not ASCII, byte by byte. */
function escaped(text: string): string {
  let result = '';
  for (const byte of Buffer.from(text, 'utf8')) {
    const character = String.fromCharCode(byte);
    result += /[A-Za-z0-9._@+/-]/.test(character) ? character : `\\${byte.toString(16).padStart(2, '0')}`;
  }
  return result;
}

function nameOf(value: string): string {
  const first = /^[A-Za-z][A-Za-z0-9-]*=((?:\\.|[^,+\\])*)/.exec(value)?.[1];
  return first === undefined
    ? value
    : first.replaceAll(/\\([0-9A-Fa-f]{2}|.)/g, (_, what: string) =>
        what.length === 2 ? String.fromCharCode(Number.parseInt(what, 16)) : what,
      );
}
