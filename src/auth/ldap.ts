/** Logins by an LDAP directory: the account is searched for, and then logged in to with the password that was sent. */
import { createHmac, randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { Client, type Entry, ResultCodeError } from 'ldapts';
import {
  AuthenticationUnavailable,
  type Authenticator,
  type Credentials,
  type Identity,
  isAccountName,
} from './identity.ts';
import { connectDirectory } from './ldap-connection.ts';
import { Recent } from '../recent.ts';

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
/** What ldapts is told of the connection that it is given. */
const CONNECTED = 'ldap://connected';
/**
 * Results of a login that are about the account: no such one, no password, a wrong one, locked or expired (389
 * Directory Server says `unwillingToPerform` or `constraintViolation`). Others are about the directory.
 */
const REFUSALS: ReadonlySet<number> = new Set([19, 32, 48, 49, 50, 53]);

export class LdapDirectory implements Authenticator {
  readonly #options: LdapOptions;
  readonly #key = randomBytes(32);
  readonly #remembered = new Recent<{ readonly identity: Identity; readonly until: number }>({
    most: MAX_REMEMBERED,
  });
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
    const { url, bindDn, bindPassword, baseDn, timeoutMs } = this.#options;
    let socket: Socket | undefined;
    try {
      socket = await connectDirectory(this.#options);
      const limits = { timeout: timeoutMs, connectTimeout: timeoutMs };
      const client = new Client({ url: CONNECTED, ...limits, createConnection: once(socket) });
      if (bindDn !== undefined) await client.bind(bindDn, bindPassword ?? '');
      const entry = await this.#find(client, account);
      const name = entry === undefined ? undefined : this.#nameIn(entry, account);
      // For an unknown account too, so that the time does not tell it from a wrong password.
      const dn = name === undefined ? undefined : entry?.dn;
      const isRight = await opens(client, dn ?? `cn=${randomBytes(8).toString('hex')},${baseDn}`, password);
      if (entry === undefined || name === undefined) return undefined;
      return isRight ? { account: name, groups: this.#groupsIn(entry), method: 'ldap' } : 'refused';
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new AuthenticationUnavailable(`${url}: ${reason}`, { cause: error });
    } finally {
      socket?.destroy();
    }
  }

  /** The one entry of that account; of two it cannot be told which is meant. */
  async #find(client: Client, account: string): Promise<Entry | undefined> {
    const { baseDn, userFilter, groupAttribute, timeoutMs } = this.#options;
    const attributes = [...nameAttributes(userFilter), groupAttribute].filter((name) => name !== '');
    const { searchEntries } = await client.search(baseDn, {
      scope: 'sub',
      filter: userFilter.replaceAll('${account}', escaped(account)),
      attributes: attributes.length === 0 ? ['1.1'] : attributes,
      sizeLimit: 2,
      timeLimit: Math.ceil(timeoutMs / 1000),
    });
    return searchEntries.length === 1 ? searchEntries[0] : undefined;
  }

  /**
   * The account as the directory spells it. A directory takes `ALICE` for `alice`, and rules do not: whoever chose the
   * spelling would choose which of them are about him.
   */
  #nameIn(entry: Entry, account: string): string | undefined {
    const known = nameAttributes(this.#options.userFilter).flatMap((name) => valuesOf(entry, name));
    const name =
      known.length === 0 ? folded(account) : known.find((value) => folded(value) === folded(account));
    return name !== undefined && isAccountName(name) ? name : undefined;
  }

  /** Of the DN of a group its first value (`cn=dev,ou=groups,…` is `dev`); other values as they are. */
  #groupsIn(entry: Entry): readonly string[] {
    const values = valuesOf(entry, this.#options.groupAttribute);
    return [...new Set(values.map(groupOf))].filter((name) => name !== '');
  }

  #remember(key: string, identity: Identity): void {
    this.#remembered.set(key, { identity, until: Date.now() + REMEMBERED_FOR });
  }
}

/** Connects to nothing but what is connected already, and only once: a second time there would be no TLS. */
function once(socket: Socket): () => Socket {
  let isTaken = false;
  return () => {
    if (isTaken) throw new Error('the directory ended the connection');
    isTaken = true;
    return socket;
  };
}

/** Whether the directory lets an account in. @throws Error when it does not tell */
async function opens(client: Client, dn: string, password: string): Promise<boolean> {
  try {
    await client.bind(dn, password);
    return true;
  } catch (error) {
    if (error instanceof ResultCodeError && REFUSALS.has(error.code)) return false;
    throw error;
  }
}

/** The attributes that a filter compares with the account: `uid` of `(uid=${account})`. */
function nameAttributes(filter: string): readonly string[] {
  return [...filter.matchAll(/\(([A-Za-z][A-Za-z0-9-]*)=\$\{account\}\)/g)].map(([, name = '']) => name);
}

/** Directories answer with their own spelling of an attribute's name. */
function valuesOf(entry: Entry, attribute: string): readonly string[] {
  const wanted = attribute.toLowerCase();
  return Object.entries(entry)
    .filter(([name]) => name.toLowerCase() === wanted && name !== 'dn')
    .flatMap(([, value]) => (Array.isArray(value) ? value.map(String) : [String(value)]));
}

/** One form for what a directory takes for the same (RFC 4518 §2). */
function folded(text: string): string {
  return text.normalize('NFKC').toLowerCase();
}

/** RFC 4515 §3. What is not ASCII stays as it is: ldapts would take its escaped bytes for characters. */
function escaped(text: string): string {
  return text.replaceAll(
    /[^A-Za-z0-9._@+/\-\u0080-\uffff]/g,
    (character) => `\\${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

function groupOf(value: string): string {
  const first = /^[A-Za-z][A-Za-z0-9-]*=((?:\\.|[^,+\\])*)/.exec(value)?.[1];
  // Escaped bytes are UTF-8, and several of them may be one character (RFC 4514 §2.4).
  return first === undefined
    ? value
    : first.replaceAll(/(?:\\[0-9A-Fa-f]{2})+|\\(.)/g, (bytes, character: string | undefined) =>
        character === undefined ? Buffer.from(bytes.replaceAll('\\', ''), 'hex').toString('utf8') : character,
      );
}
