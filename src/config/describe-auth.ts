import type { AuthConfig, OwnAuthConfig, RuleConfig } from './auth-config.ts';
import { formatDuration } from './durations.ts';
import { EVERY_ACCOUNT } from './effective-rights.ts';

/** The settings about logins and rights, as they stand in a file. */
export function describeAuth(auth: AuthConfig | undefined): object {
  if (auth === undefined) return { auth: { none: null } };
  if (auth.kind === 'silly') return { auth: { silly: { realm: auth.realm, service: auth.service } } };
  if (auth.kind === 'own') return describeOwn(auth);
  return {
    auth: {
      token: {
        realm: auth.realm,
        service: auth.service,
        issuer: auth.issuer,
        ...(auth.rootCertBundle === undefined ? {} : { rootcertbundle: auth.rootCertBundle }),
        ...(auth.jwks === undefined ? {} : { jwks: auth.jwks }),
        signingalgorithms: auth.signingAlgorithms,
        autoredirect: auth.autoRedirect,
        autoredirectpath: auth.autoRedirectPath,
      },
    },
  };
}

function describeOwn(auth: OwnAuthConfig): object {
  const { htpasswd, ldap } = auth;
  const file =
    htpasswd?.create === true
      ? { htpasswd: { ...(auth.challenge === 'basic' ? { realm: auth.realm } : {}), path: htpasswd.path } }
      : {};
  if (auth.challenge === 'basic') return { auth: file };
  const usesDefault = auth.acl.length === 1 && auth.acl[0]?.source === EVERY_ACCOUNT.source;
  return {
    auth: {
      ...file,
      ...(auth.realm === undefined ? {} : { realm: auth.realm }),
      service: auth.service,
      issuer: auth.issuer,
      signing_method: auth.signingMethod,
      ...(auth.privateKey === undefined ? {} : { private_key: auth.privateKey }),
      ...(auth.publicKey === undefined ? {} : { public_key: auth.publicKey }),
      ...(auth.hmacSecret === undefined ? {} : { hmac_secret: auth.hmacSecret }),
      expiry: formatDuration(auth.expiryMs),
      refreshexpiry: formatDuration(auth.refreshExpiryMs),
      ...(auth.stateDirectory === undefined ? {} : { state: auth.stateDirectory }),
      oidc: auth.oidc.map(({ audiences, accounts, ...issuer }) => ({
        ...issuer,
        audience: audiences,
        accounts,
      })),
      ...(ldap === undefined
        ? {}
        : {
            ldap: {
              url: ldap.url,
              starttls: ldap.startTls,
              ...(ldap.ca === undefined ? {} : { ca: ldap.ca }),
              ...(ldap.bindDn === undefined ? {} : { binddn: ldap.bindDn }),
              ...(ldap.bindPassword === undefined ? {} : { bindpassword: ldap.bindPassword }),
              basedn: ldap.baseDn,
              userfilter: ldap.userFilter,
              groupattribute: ldap.groupAttribute,
              timeout: formatDuration(ldap.timeoutMs),
            },
          }),
      certificates: auth.certificates.map(({ commonName, alternativeName, ...rest }) => ({
        ...(commonName === undefined ? {} : { subject: commonName }),
        ...(alternativeName === undefined ? {} : { san: alternativeName }),
        ...rest,
      })),
    },
    users: Object.fromEntries(
      auth.users.map(({ name, passwordHash, groups }) => [name, { password: passwordHash, groups }]),
    ),
    groups: auth.groups,
    ...(usesDefault ? {} : { acl: auth.acl.map(describeRule) }),
  };
}

function describeRule({ who, name, actions, ip, deny }: RuleConfig): object {
  return { ...who, name, actions, ...(ip.length > 0 ? { ip } : {}), ...(deny ? { deny } : {}) };
}
