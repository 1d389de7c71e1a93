import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './command.ts';

/** A certificate for 127.0.0.1, signed by itself. */
export interface Certificate {
  readonly certificateFile: string;
  readonly keyFile: string;
  readonly pem: string;
}

const REQUEST =
  'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1'.split(
    ' ',
  );

/** Makes one with openssl (ECDSA P-256) in `folder`. */
export async function makeCertificate(folder: string): Promise<Certificate> {
  const certificateFile = join(folder, 'tls.crt');
  const keyFile = join(folder, 'tls.key');
  await run('openssl', [...REQUEST, '-keyout', keyFile, '-out', certificateFile]);
  return { certificateFile, keyFile, pem: await readFile(certificateFile, 'utf8') };
}
