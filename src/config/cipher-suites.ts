/** Cipher suites by Go's names, as `registry:2`'s file has them, and by OpenSSL's. */

/** Those of TLS 1.2. */
const OPENSSL_NAME: Readonly<Record<string, string>> = {
  TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: 'ECDHE-ECDSA-AES128-GCM-SHA256',
  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: 'ECDHE-RSA-AES128-GCM-SHA256',
  TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384: 'ECDHE-ECDSA-AES256-GCM-SHA384',
  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384: 'ECDHE-RSA-AES256-GCM-SHA384',
  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: 'ECDHE-ECDSA-CHACHA20-POLY1305',
  TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256: 'ECDHE-RSA-CHACHA20-POLY1305',
  TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256: 'ECDHE-ECDSA-AES128-SHA256',
  TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256: 'ECDHE-RSA-AES128-SHA256',
  TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA: 'ECDHE-ECDSA-AES128-SHA',
  TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA: 'ECDHE-RSA-AES128-SHA',
  TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA: 'ECDHE-ECDSA-AES256-SHA',
  TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA: 'ECDHE-RSA-AES256-SHA',
  TLS_RSA_WITH_AES_128_GCM_SHA256: 'AES128-GCM-SHA256',
  TLS_RSA_WITH_AES_256_GCM_SHA384: 'AES256-GCM-SHA384',
  TLS_RSA_WITH_AES_128_CBC_SHA: 'AES128-SHA',
  TLS_RSA_WITH_AES_256_CBC_SHA: 'AES256-SHA',
};

/** Go's older names for two of them. */
const ALIASES: Readonly<Record<string, string>> = {
  TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305: 'TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256',
  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305: 'TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256',
};

/** Those of TLS 1.3, which Go speaks whatever the list says. */
const OF_TLS_1_3 = new Set([
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
]);

/** Broken ones (RFC 7465, CVE-2016-2183), and one that Bun's TLS does not have. */
const NEVER_SPOKEN = new Set([
  'TLS_RSA_WITH_RC4_128_SHA',
  'TLS_ECDHE_RSA_WITH_RC4_128_SHA',
  'TLS_ECDHE_ECDSA_WITH_RC4_128_SHA',
  'TLS_RSA_WITH_3DES_EDE_CBC_SHA',
  'TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA',
  'TLS_RSA_WITH_AES_128_CBC_SHA256',
]);

/** The names that a list may have, for messages. */
export const CIPHER_SUITES: readonly string[] = [...Object.keys(OPENSSL_NAME), ...OF_TLS_1_3];

/** A list of suites, taken apart. */
export interface CipherChoice {
  /** Of TLS 1.2, by OpenSSL's names, in the list's order. */
  readonly ciphers: readonly string[];
  readonly hasTls13: boolean;
  /** Indexes of names that nobody knows. */
  readonly unknown: readonly number[];
  /** Names that Go knows and we do not speak. */
  readonly leftOut: readonly string[];
}

/** Reads a list of Go's names, in any case. */
export function readCipherSuites(names: readonly string[]): CipherChoice {
  const known = names.map((name) => ALIASES[name.toUpperCase()] ?? name.toUpperCase());
  return {
    ciphers: [...new Set(known.flatMap((name) => OPENSSL_NAME[name] ?? []))],
    hasTls13: known.some((name) => OF_TLS_1_3.has(name)),
    unknown: known.flatMap((name, index) =>
      name in OPENSSL_NAME || OF_TLS_1_3.has(name) || NEVER_SPOKEN.has(name) ? [] : [index],
    ),
    leftOut: known.filter((name) => NEVER_SPOKEN.has(name)),
  };
}

/** Go's name of a suite of TLS 1.2 that has this one in OpenSSL. */
export function goName(openSslName: string): string {
  return Object.entries(OPENSSL_NAME).find(([, name]) => name === openSslName)?.[0] ?? openSslName;
}
