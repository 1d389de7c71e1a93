/** Who we are to an upstream: a name and password of the configuration, or those that a helper program tells. */
import { execFile } from 'node:child_process';
import { UpstreamFailure } from './upstream-failure.ts';

export interface UpstreamCredentials {
  readonly username: string;
  readonly password: string;
}

/** A program of docker's credential helper protocol (`<command> get`, the server's URL on standard input). */
export interface CredentialHelper {
  readonly command: string;
  /** Milliseconds that an answer is used for; 0 asks for every request; undefined for as long as we run. */
  readonly lifetimeMs: number | undefined;
}

/** Gives the credentials that are to be used now; undefined for none. @throws UpstreamFailure */
export type CredentialSource = () => Promise<UpstreamCredentials | undefined>;

/** A helper that has not answered after so many milliseconds is ended. */
const HELPER_TIMEOUT_MS = 15_000;
const MAX_ANSWER = 64 * 1024;

export function credentialSource(
  credentials: UpstreamCredentials | undefined,
  helper: CredentialHelper | undefined,
  url: URL,
): CredentialSource {
  if (helper === undefined) return () => Promise.resolve(credentials);
  let kept: { readonly credentials: UpstreamCredentials; readonly until: number } | undefined;
  let running: Promise<UpstreamCredentials> | undefined;
  return async () => {
    if (kept !== undefined && Date.now() < kept.until) return kept.credentials;
    running ??= askHelper(helper.command, url).finally(() => (running = undefined));
    const answer = await running;
    kept = { credentials: answer, until: Date.now() + (helper.lifetimeMs ?? Number.POSITIVE_INFINITY) };
    return answer;
  };
}

function askHelper(command: string, url: URL): Promise<UpstreamCredentials> {
  const refuse = (why: string) =>
    new UpstreamFailure(`the credential helper ${command} for ${url.host} ${why}`);
  return new Promise((resolve, reject) => {
    const child = execFile(
      command,
      ['get'],
      { timeout: HELPER_TIMEOUT_MS, maxBuffer: MAX_ANSWER, killSignal: 'SIGKILL' },
      (error, stdout) => {
        // Helpers tell what is wrong on standard output. It is not repeated: it could be the secret.
        if (error !== null) reject(refuse(`failed: ${error.code ?? error.signal ?? 'it did not end'}`));
        else {
          try {
            const { Username, Secret } = JSON.parse(stdout) as { Username?: unknown; Secret?: unknown };
            if (typeof Username !== 'string' || typeof Secret !== 'string') throw new Error('no names');
            resolve({ username: Username, password: Secret });
          } catch {
            reject(refuse('did not answer with Username and Secret'));
          }
        }
      },
    );
    child.stdin?.on('error', () => undefined); // one that does not read its input has its reasons
    child.stdin?.end(url.href.replace(/\/$/, ''));
  });
}
