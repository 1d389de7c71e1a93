/**
 * The settings that this version honours, as `registry:2`'s file names them. What else that file may hold is in
 * `unsupported.ts`; a setting moves here when it works. Bare keys (`key:`) count as left out everywhere.
 */
import * as v from 'valibot';
import { acmeSchema } from './acme-schema.ts';
import {
  parseCertificateName,
  parseDomain,
  parseMetricsPath,
  parsePrefix,
  parseProxy,
  parseServerName,
} from './addresses.ts';
import { accessSchema, aclSchema, authSchema, groupsSchema, usersSchema } from './auth-schema.ts';
import { proxySchema } from './proxy-schema.ts';
import { tagRulesSchema } from './tag-rules-schema.ts';
import { quotasSchema } from './quota-schema.ts';
import {
  anything,
  duration,
  flag,
  integer,
  listOf,
  longDuration,
  oneOf,
  secretText,
  text,
  textThat,
} from './scalars.ts';
import { retentionSchema } from './retention-schema.ts';
import { scrubSchema } from './scrub-schema.ts';
import { garbageCollectorSchema } from './upkeep-schema.ts';

const logLevel = () => v.nullish(oneOf('error', 'warn', 'info', 'debug'));

/** More processes than this on one machine is a slip of the finger. */
const MAX_WORKERS = 1024;

const pattern = () => textThat('a regular expression', (source) => (isPattern(source) ? source : undefined));

/** RFC 9110's token. Checked here because `node:http`, which could, takes over 10 ms to load. */
const headerName = v.pipe(
  v.string(),
  v.regex(/^[\w!#$%&'*+\-.^`|~]+$/, 'expected the name of an HTTP header'),
);

const headerValue = () =>
  textThat('a value that an HTTP header can have', (value) =>
    // One byte a character, and no control characters but the tab.
    /^[\t\x20-\x7e\x80-\xff]*$/.test(value) ? value : undefined,
  );

const log = v.object({
  level: logLevel(),
  formatter: v.nullish(oneOf('text', 'json', 'logstash')),
  fields: v.nullish(v.record(v.string(), anything())),
  accesslog: v.nullish(v.object({ disabled: v.nullish(flag()) })),
});

const storage = v.object({
  filesystem: v.nullish(
    v.object({
      rootdirectory: v.nullish(text('a path')),
      maxthreads: v.nullish(integer()),
    }),
  ),
  // Anything: it has no settings, and naming it is enough.
  inmemory: v.nullish(v.any()),
  delete: v.nullish(v.object({ enabled: v.nullish(flag()), referenced: v.nullish(flag()) })),
  maintenance: v.nullish(
    v.object({
      uploadpurging: v.nullish(
        v.object({
          enabled: v.nullish(flag()),
          age: v.nullish(longDuration()),
          interval: v.nullish(longDuration(1)),
          dryrun: v.nullish(flag()),
        }),
      ),
      readonly: v.nullish(v.object({ enabled: v.nullish(flag()) })),
    }),
  ),
});

const http = v.object({
  addr: v.nullish(text('a string such as ":5000"')),
  net: v.nullish(oneOf('tcp', 'unix', '')),
  prefix: v.nullish(textThat('a path such as "/registry/"', parsePrefix)),
  host: v.nullish(text('a URL such as "https://registry.example.com"')),
  relativeurls: v.nullish(flag()),
  secret: v.nullish(secretText()),
  headers: v.nullish(v.record(headerName, listOf(headerValue()))),
  draintimeout: v.nullish(duration()),
  tls: v.nullish(
    v.object({
      auto: v.nullish(flag()),
      names: v.nullish(
        listOf(
          textThat(
            'a DNS name such as "registry.lan" or an address, without scheme and port',
            parseCertificateName,
          ),
        ),
      ),
      constraints: v.nullish(listOf(textThat('a domain such as "local", without "*."', parseDomain))),
      letsencrypt: v.nullish(acmeSchema),
      plainaddr: v.nullish(text('a string such as ":5080"')),
      certificate: v.nullish(text('the path of a PEM file')),
      key: v.nullish(text('the path of a PEM file')),
      certificates: v.nullish(
        v.array(
          v.object({
            certificate: text('the path of a PEM file'),
            key: text('the path of a PEM file'),
            names: v.nullish(
              listOf(textThat('a DNS name such as "a.example" or "*.example"', parseServerName)),
            ),
          }),
        ),
      ),
      minimumtls: v.nullish(oneOf('tls1.0', 'tls1.1', 'tls1.2', 'tls1.3', '')),
      ciphersuites: v.nullish(listOf(text('the name of a cipher suite'))),
      clientcas: v.nullish(listOf(text('the path of a PEM file'))),
      clientauth: v.nullish(
        oneOf(
          'request-client-cert',
          'require-any-client-cert',
          'verify-client-cert-if-given',
          'require-and-verify-client-cert',
        ),
      ),
    }),
  ),
  workers: v.nullish(integer(1, MAX_WORKERS)),
  debug: v.nullish(
    v.object({
      addr: v.nullish(text('a string such as "127.0.0.1:5001"')),
      prometheus: v.nullish(
        v.object({
          enabled: v.nullish(flag()),
          path: v.nullish(textThat('a path such as "/metrics"', parseMetricsPath)),
        }),
      ),
    }),
  ),
  trustedproxies: v.nullish(
    listOf(textThat('an address, a block such as 10.0.0.0/8, or "unix"', parseProxy)),
  ),
});

const validation = v.object({
  disabled: v.nullish(flag()),
  enabled: v.nullish(flag()),
  manifests: v.nullish(
    v.object({
      urls: v.nullish(v.object({ allow: v.nullish(listOf(pattern())), deny: v.nullish(listOf(pattern())) })),
      indexes: v.nullish(
        v.object({
          platforms: v.nullish(oneOf('all', 'none', 'list')),
          platformlist: v.nullish(v.array(v.object({ architecture: text(), os: text() }))),
        }),
      ),
    }),
  ),
});

/** The whole file. */
export const fileSchema = v.object({
  version: v.nullish(textThat('the version 0.1', (typed) => (typed === '0.1' ? typed : undefined))),
  log: v.nullish(log),
  loglevel: logLevel(),
  storage: v.nullish(storage),
  http: v.nullish(http),
  validation: v.nullish(validation),
  proxy: v.nullish(proxySchema),
  garbage_collector: v.nullish(garbageCollectorSchema),
  scrub: v.nullish(scrubSchema),
  retention: v.nullish(retentionSchema),
  admin: v.nullish(v.object({ socket: v.nullish(text('the path of a socket, or "off"')) })),
  quotas: v.nullish(quotasSchema),
  mdns: v.nullish(
    v.object({
      enabled: v.nullish(flag()),
      name: v.nullish(
        textThat('a name of letters, digits and hyphens, without ".local"', (typed) =>
          /^[a-z0-9](?:[a-z0-9-]{0,50}[a-z0-9])?$/.test(typed) ? typed : undefined,
        ),
      ),
    }),
  ),
  auth: v.nullish(authSchema),
  users: v.nullish(usersSchema),
  groups: v.nullish(groupsSchema),
  // Without a value it is what is left when the last rule was taken out, and nobody would be kept out.
  acl: v.optional(aclSchema),
  access: v.nullish(accessSchema),
  catalog: v.nullish(v.object({ maxentries: v.nullish(integer()) })),
  tags: v.nullish(
    v.object({
      maxtags: v.nullish(integer()),
      immutable: v.nullish(tagRulesSchema),
      protected: v.nullish(tagRulesSchema),
    }),
  ),
});

/** A file that fits the schema. */
export type File = v.InferOutput<typeof fileSchema>;

function isPattern(source: string): boolean {
  try {
    return new RegExp(source) instanceof RegExp;
  } catch {
    return false;
  }
}
