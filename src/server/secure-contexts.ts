/** The TLS settings of a server of node:tls or node:https, on both runtimes. */
import {
  createSecureContext,
  type SecureContext,
  type SecureContextOptions,
  type Server,
  type TlsOptions as TlsServerOptions,
} from 'node:tls';
import { alpnOptions } from './alpn-challenge.ts';
import type { ServerCertificate, ServerCertificates, TlsOptions } from './listener.ts';
import { type CertificateNames, forName, namesOf } from './server-certificates.ts';

/** What a server is made with, and how it comes to other certificates. */
export class SecureContexts {
  readonly #tls: TlsOptions;
  #named: CertificateNames<SecureContext>;

  /** @throws Error for a certificate, key or cipher that cannot be used */
  constructor(tls: TlsOptions) {
    this.#tls = tls;
    this.#named = this.#contextsOf(tls);
  }

  /** For `createServer`. */
  serverOptions(): TlsServerOptions {
    return {
      ...this.#options(this.#tls),
      ...alpnOptions(this.#tls.alpnChallenge),
      SNICallback: (name, tell) => tell(null, forName(this.#named, name)),
    };
  }

  /** Shows other certificates to connections to come. @throws Error as the constructor; nothing has changed then */
  renew(server: Pick<Server, 'setSecureContext'>, certificates: ServerCertificates): void {
    const named = this.#contextsOf(certificates);
    server.setSecureContext(this.#options(certificates));
    this.#named = named;
  }

  #contextsOf(certificates: ServerCertificates): CertificateNames<SecureContext> {
    // Several names share a certificate, and a context costs some 50 kB.
    const made = new Map<string, SecureContext>();
    const names = [...namesOf(certificates)].map(([name, pair]) => {
      const context = made.get(pair.certificate) ?? createSecureContext(this.#options(pair));
      made.set(pair.certificate, context);
      return [name, context] as const;
    });
    return new Map(names);
  }

  #options({ certificate, key }: ServerCertificate): SecureContextOptions {
    const { clientCas, minimumVersion = 'tls1.2', ciphers } = this.#tls;
    return {
      cert: certificate,
      key,
      minVersion: minimumVersion === 'tls1.3' ? 'TLSv1.3' : 'TLSv1.2',
      ...(ciphers === undefined ? {} : { ciphers }),
      // Each context has its own: without it no client's certificate would be known by that name.
      ...(clientCas === undefined ? {} : { ca: clientCas }),
    };
  }
}
