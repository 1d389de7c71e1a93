/** A token service as a registry's `auth.token` names it (distribution, docs/spec/auth/token.md). */
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SignJWT } from 'jose';

/** The one account of the forms that want one. */
export const ACCOUNT = { username: 'puller', password: 'pull the other one' } as const;

/** Repositories that begin so are for everybody where the form is `token`. */
export const ANONYMOUS_PREFIX = 'public/';

/** A running server. */
export interface TokenServer {
  /** Where tokens are asked for. */
  readonly realm: string;
  /** For whom its tokens are (`aud`), and by whom (`iss`). */
  readonly service: string;
  readonly issuer: string;
  /** PEM, in PKCS #8. */
  readonly privateKey: string;
  /** Tells it the certificate of its key, which its tokens carry. */
  certify(pem: string): void;
  close(): Promise<void>;
}

/** Starts one on 127.0.0.1. It gives tokens to those who know the account, and for public repositories to those who name none. */
export async function startTokenServer(): Promise<TokenServer> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const [service, issuer] = ['upstream', 'token-server'];
  const expected = `Basic ${Buffer.from(`${ACCOUNT.username}:${ACCOUNT.password}`).toString('base64')}`;
  let x5c: string[] = [];
  const tokenFor = async (scopes: readonly string[], isKnown: boolean): Promise<string> => {
    const access = scopes.flatMap((scope) => {
      const [type = '', name = '', actions = ''] = scope.split(':');
      if (!isKnown && !name.startsWith(ANONYMOUS_PREFIX)) return [];
      return [{ type, name, actions: actions.split(',').filter((one) => isKnown || one === 'pull') }];
    });
    const now = Math.floor(Date.now() / 1000);
    return await new SignJWT({ access })
      .setProtectedHeader({ alg: 'ES256', typ: 'JWT', x5c })
      .setIssuer(issuer)
      .setSubject(isKnown ? ACCOUNT.username : '')
      .setAudience(service)
      .setIssuedAt(now)
      .setNotBefore(now - 10)
      .setExpirationTime(now + 300)
      .setJti(String(now))
      .sign(privateKey);
  };
  const server = createServer((asked, answer) => {
    const { authorization } = asked.headers;
    if (authorization !== undefined && authorization !== expected) return void answer.writeHead(401).end();
    const { searchParams } = new URL(asked.url ?? '/', 'http://localhost');
    const scopes = searchParams.getAll('scope').flatMap((one) => one.split(' '));
    const give = (token: string) => answer.end(JSON.stringify({ token, expires_in: 300 }));
    tokenFor(scopes, authorization === expected).then(give, () => answer.writeHead(500).end());
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    realm: `http://localhost:${(server.address() as AddressInfo).port}/token`,
    service,
    issuer,
    privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    certify: (pem) => {
      x5c = [pem.replaceAll(/-----[^-]+-----|\s/g, '')];
    },
    close: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
    },
  };
}
