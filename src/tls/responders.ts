/** The three ways to show a directory that a name is ours. */
import { newKey } from './acme-folder.ts';
import type { ChallengeFiles } from './challenge-files.ts';
import { runDnsHook } from './dns-hook.ts';

/** What a directory asks of a name. */
export interface Question {
  /** The name, without `*.`. */
  readonly domain: string;
  readonly token: string;
  /** For dns-01 already the value of the TXT record. */
  readonly keyAuthorization: string;
}

/** Puts answers where the directory looks for them, and takes them away afterwards. */
export interface Responder {
  readonly type: 'http-01' | 'tls-alpn-01' | 'dns-01';
  /** @throws Error when it cannot be put there */
  present(question: Question): Promise<void>;
  cleanUp(question: Question): Promise<void>;
}

/** By `http://<domain>/.well-known/acme-challenge/<token>`, which every worker answers (RFC 8555 §8.3). */
export function httpResponder(files: ChallengeFiles): Responder {
  return {
    type: 'http-01',
    present: ({ token, keyAuthorization }) => files.putToken(token, keyAuthorization),
    cleanUp: ({ token }) => files.removeToken(token),
  };
}

/** By a TXT record that the operator's program makes (RFC 8555 §8.4). */
export function dnsResponder(command: string): Responder {
  const record = ({ domain, keyAuthorization }: Question) => ({
    domain,
    name: `_acme-challenge.${domain}`,
    value: keyAuthorization,
  });
  return {
    type: 'dns-01',
    present: (question) => runDnsHook(command, 'present', record(question)),
    cleanUp: (question) => runDnsHook(command, 'cleanup', record(question)),
  };
}

/** By a certificate that is shown to who speaks `acme-tls/1` (RFC 8737). */
export function alpnResponder(files: ChallengeFiles): Responder {
  return {
    type: 'tls-alpn-01',
    async present({ domain, keyAuthorization }) {
      await import('./x509.ts');
      const { crypto } = await import('acme-client');
      const authorization = { identifier: { type: 'dns', value: domain } } as Parameters<
        typeof crypto.createAlpnCertificate
      >[0];
      const [key, certificate] = await crypto.createAlpnCertificate(
        authorization,
        keyAuthorization,
        // Of the same kind as the certificate that is shown: Node 20 adds one of another kind beside it, and shows the first.
        newKey(),
      );
      await files.putCertificate(domain, `${certificate.toString().trim()}\n${key.toString().trim()}\n`);
    },
    cleanUp: ({ domain }) => files.removeCertificate(domain),
  };
}
