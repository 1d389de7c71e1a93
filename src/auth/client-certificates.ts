import type { ClientCertificate } from './access.ts';
import { fill, glob } from '../oci/glob.ts';
import { type Authenticator, type Credentials, type Identity, isAccountName } from './identity.ts';

/** Which certificates are which account: each pattern that is given must match. */
export interface CertificateRule {
  readonly commonName?: string | undefined;
  /** Over names with their kind, such as `DNS:ci.example.com` or `URI:spiffe://example.org/*`. */
  readonly alternativeName?: string | undefined;
  /** SHA-256 in lower-case hexadecimal, exactly. */
  readonly fingerprint?: string | undefined;
  /** May hold `${commonName}`. */
  readonly account: string;
  readonly groups: readonly string[];
}

/** Accounts by client certificates, which the TLS layer has verified. The first rule that matches counts. */
export class CertificateAccounts implements Authenticator {
  readonly #rules: readonly CertificateRule[];

  constructor(rules: readonly CertificateRule[]) {
    this.#rules = rules;
  }

  authenticate(credentials: Credentials): Promise<Identity | undefined> {
    if (credentials.kind !== 'certificate') return Promise.resolve(undefined);
    const { certificate } = credentials;
    const rule = this.#rules.find((one) => matches(one, certificate));
    const account =
      rule === undefined
        ? undefined
        : fill(rule.account, (name) =>
            // `ci/${commonName}` must not become an account by a certificate without a name.
            name === 'commonName' && certificate.commonName !== '' ? certificate.commonName : undefined,
          );
    if (rule === undefined || account === undefined || !isAccountName(account))
      return Promise.resolve(undefined);
    return Promise.resolve({ account, groups: rule.groups, method: 'certificate' });
  }
}

function matches(rule: CertificateRule, certificate: ClientCertificate): boolean {
  const { commonName, alternativeName, fingerprint } = rule;
  return (
    (commonName === undefined || glob(commonName)(certificate.commonName)) &&
    (alternativeName === undefined || certificate.alternativeNames.some(glob(alternativeName))) &&
    (fingerprint === undefined || fingerprint === certificate.fingerprint)
  );
}
