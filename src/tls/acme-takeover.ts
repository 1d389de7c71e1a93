/**
 * Takes over what `registry:2` (version 3) keeps in `letsencrypt.cachefile`, which is a folder of Go's autocert:
 *
 *     acme_account+key     the key of the account, PEM (before 2018 acme_account.key)
 *     HOST                 the key and then the certificate with its chain, PEM; for that host alone
 *     HOST+rsa             the same for clients that have no ECDSA
 *
 * Nothing of it is changed, so that one can go back.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { type AcmeFolder, isPlaceholder } from './acme-folder.ts';
import { namesMissing } from './acme-order.ts';
import { readText } from './key-files.ts';

/** What was taken over. */
export interface TakenOver {
  readonly account: boolean;
  /** The host whose certificate is shown from now on; for others of the list it has to be asked for. */
  readonly host: string | undefined;
}

/**
 * Takes over the account where there is none of ours, and a certificate that is still valid where there is none, or only
 * a placeholder. What cannot be read is passed over: it is asked for then.
 * @param hosts in the order in which they are preferred
 */
export async function takeOver(
  folder: AcmeFolder,
  hosts: readonly string[],
  now = Date.now(),
): Promise<TakenOver> {
  const account = await accountKey(folder);
  const taken = account !== undefined && (await folder.placeAccountKey(account));
  const present = await folder.certificate();
  if (present !== undefined && !isPlaceholder(present)) return { account: taken, host: undefined };
  for (const host of hosts) {
    for (const name of [host, `${host}+rsa`]) {
      const text = await readOrNothing(join(folder.path, name));
      const pair = text === undefined ? undefined : pairIn(text, host, now);
      if (pair === undefined) continue;
      await folder.writeCertificate(pair.certificate, pair.key);
      return { account: taken, host };
    }
  }
  return { account: taken, host: undefined };
}

async function accountKey(folder: AcmeFolder): Promise<string | undefined> {
  for (const name of ['acme_account+key', 'acme_account.key']) {
    const key = keyIn((await readOrNothing(join(folder.path, name))) ?? '');
    if (key !== undefined) return key;
  }
  return undefined;
}

/** Nothing, too, for what is no file. */
function readOrNothing(path: string): Promise<string | undefined> {
  return readText(path).catch(() => undefined);
}

/** undefined when it is not for the host, out of its time, or not whole. */
function pairIn(
  text: string,
  host: string,
  now: number,
): { readonly certificate: string; readonly key: string } | undefined {
  const key = keyIn(text);
  const chain = text.split(/(?=-----BEGIN )/).filter((part) => part.startsWith('-----BEGIN CERTIFICATE-'));
  try {
    const [leaf] = chain.map((pem) => new X509Certificate(pem));
    if (leaf === undefined || key === undefined || namesMissing(leaf, [host]).length > 0) return undefined;
    const isValid = Date.parse(leaf.validFrom) <= now && now < Date.parse(leaf.validTo);
    if (!isValid || !leaf.checkPrivateKey(createPrivateKey(key))) return undefined;
    return { certificate: chain.join(''), key };
  } catch {
    return undefined;
  }
}

/** In the form that all our keys have: Go writes those of its curves in another one (SEC 1). */
function keyIn(text: string): string | undefined {
  try {
    return createPrivateKey(text).export({ type: 'pkcs8', format: 'pem' }).toString();
  } catch {
    return undefined;
  }
}
