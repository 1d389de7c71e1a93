/** The settings about logins and rights: `auth` of `registry:2`, and `users`, `groups`, `acl` and `access`, which are ours. */
import * as v from 'valibot';
import {
  anything,
  duration,
  filledListOf,
  flag,
  listOf,
  oneOf,
  secretText,
  text,
  textThat,
} from './scalars.ts';
import { ScalarNode } from './tree.ts';

const MINUTE_MS = 60_000;

/** A list of account or group names. */
const names = () => listOf(text('a name'));

const BCRYPT = /^\$2[aby]\$(?:0[4-9]|1[0-6])\$[./A-Za-z0-9]{53}$/;

function bcryptHash() {
  return v.pipe(
    secretText(),
    v.regex(
      BCRYPT,
      'expected a bcrypt hash of cost 4 to 16; "entrepot hash-password" makes one (in quotes, as it has $ in it)',
    ),
  );
}

/** A hash alone, or a section with it. */
const user = v.pipe(
  v.unknown(),
  v.transform((input): unknown => (input instanceof ScalarNode ? { password: input } : input)),
  v.strictObject(
    { password: bcryptHash(), groups: v.nullish(names()) },
    'expected a bcrypt hash, or a section with "password" and perhaps "groups"',
  ),
);

/** Strict: a condition that is miswritten and passed over would give more than was meant. */
const rule = v.pipe(
  v.unknown(),
  v.strictObject(
    {
      account: v.nullish(text('the name of an account')),
      group: v.nullish(text('the name of a group')),
      anonymous: v.nullish(flag()),
      name: v.nullish(text('repository names such as "team/*"')),
      actions: v.optional(filledListOf(oneOf('pull', 'push', 'delete', '*'))),
      ip: v.optional(filledListOf(text('an address or a block such as "10.0.0.0/8"'))),
      deny: v.nullish(flag()),
    },
    'expected a rule of account, group or anonymous with name, actions, and perhaps ip and deny',
  ),
);

const globs = () => v.record(v.string(), text('a pattern'));

const oidc = v.object({
  issuer: text('the URL of the issuer'),
  audience: v.nullish(listOf(text())),
  jwks: v.nullish(text('a URL or a path')),
  ca: v.nullish(text('the path of a PEM file')),
  accounts: v.nullish(
    v.array(
      v.object({ claims: v.nullish(globs()), account: text('an account'), groups: v.nullish(names()) }),
    ),
  ),
});

const ldap = v.object({
  url: textThat('a URL such as "ldaps://ldap.example.com"', (typed) =>
    /^ldaps?:\/\/[^/\s]+\/?$/.test(typed) ? typed : undefined,
  ),
  starttls: v.nullish(flag()),
  ca: v.nullish(text('the path of a PEM file')),
  binddn: v.nullish(text('a distinguished name')),
  bindpassword: v.nullish(secretText()),
  basedn: text('a distinguished name'),
  userfilter: v.nullish(
    textThat('a filter with ${account} in it', (typed) => (typed.includes('${account}') ? typed : undefined)),
  ),
  groupattribute: v.nullish(text('the name of an attribute')),
  timeout: v.nullish(duration(1)),
});

const certificate = v.object({
  subject: v.nullish(text('a pattern for the common name')),
  san: v.nullish(text('a pattern such as "URI:spiffe://example.org/*"')),
  fingerprint: v.nullish(
    textThat('a SHA-256 in hexadecimal', (typed) => {
      const hex = typed.replaceAll(':', '').toLowerCase();
      return /^[0-9a-f]{64}$/.test(hex) ? hex : undefined;
    }),
  ),
  account: v.nullish(text('an account')),
  groups: v.nullish(names()),
});

export const authSchema = v.object({
  // Anything: naming it is enough.
  none: v.nullish(anything()),
  silly: v.nullish(v.object({ realm: v.nullish(text()), service: v.nullish(text()) })),
  htpasswd: v.nullish(v.object({ realm: v.nullish(text()), path: v.nullish(text('a path')) })),
  token: v.nullish(
    v.object({
      realm: v.nullish(text('a URL')),
      service: v.nullish(text()),
      issuer: v.nullish(text()),
      rootcertbundle: v.nullish(text('the path of a PEM file')),
      jwks: v.nullish(text('the path of a JWK set')),
      signingalgorithms: v.nullish(listOf(text('an algorithm such as "RS256"'))),
      autoredirect: v.nullish(flag()),
      autoredirectpath: v.nullish(text('a path')),
    }),
  ),
  realm: v.nullish(
    textThat('the URL of the token service, such as "https://registry.example.com/v2/token"', (typed) =>
      /^(?:https?:\/\/[^\s"]+|\/[^\s"]*)$/.test(typed) ? typed : undefined,
    ),
  ),
  service: v.nullish(text()),
  issuer: v.nullish(text()),
  signing_method: v.nullish(oneOf('rs256', 'es256', 'hs256')),
  private_key: v.nullish(text('the path of a PEM file')),
  public_key: v.nullish(text('the path of a PEM file')),
  hmac_secret: v.nullish(secretText()),
  expiry: v.nullish(duration(MINUTE_MS)),
  refreshexpiry: v.nullish(duration(MINUTE_MS)),
  state: v.nullish(text('a path')),
  oidc: v.nullish(v.array(oidc)),
  ldap: v.nullish(ldap),
  certificates: v.nullish(v.array(certificate)),
});

export const usersSchema = v.record(v.string(), user);
export const groupsSchema = v.record(v.string(), names());
export const aclSchema = v.array(
  rule,
  'expected a list of rules; an empty one, [], refuses what "access" does not allow',
);
export const accessSchema = v.object({
  pull: v.nullish(names()),
  push: v.nullish(names()),
  delete: v.nullish(names()),
});
