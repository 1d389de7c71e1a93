/** The answer to ACME's tls-alpn-01 (RFC 8737): another certificate for who speaks `acme-tls/1`. On Node alone. */
import { createSecureContext, type SecureContext, type TlsOptions as NodeTlsOptions } from 'node:tls';
import type { AlpnChallenge } from './listener.ts';

const CHALLENGE = 'acme-tls/1';
const HTTP = 'http/1.1';

/** What of Node's declarations for TLS is missing: it has the method from 20.17 on. */
interface ChoosingSocket {
  setKeyCert(context: SecureContext): void;
}

/**
 * Options of a TLS server by which HTTP/1.1 is spoken and, given a challenge, its certificates are shown. A client that
 * speaks neither is refused, as without them.
 */
export function alpnOptions(
  challenge: AlpnChallenge | undefined,
): Pick<NodeTlsOptions, 'ALPNCallback' | 'ALPNProtocols'> {
  if (challenge === undefined) return { ALPNProtocols: [HTTP] };
  return {
    ALPNCallback(this: ChoosingSocket, { servername, protocols }: AlpnQuestion): string | undefined {
      if (!protocols.includes(CHALLENGE)) return protocols.includes(HTTP) ? HTTP : undefined;
      const pem = challenge(servername.toLowerCase());
      if (pem === undefined) return undefined;
      try {
        this.setKeyCert(createSecureContext({ cert: pem, key: pem }));
        return CHALLENGE;
      } catch {
        return undefined; // who asked is told that we do not speak it, which is as good as true
      }
    },
  };
}

interface AlpnQuestion {
  readonly servername: string;
  readonly protocols: readonly string[];
}
