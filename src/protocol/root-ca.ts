import type { RootCa } from './exchange.ts';
import { nothingHere } from './nothing-here.ts';

const TYPES = {
  crt: 'application/x-pem-file',
  der: 'application/x-x509-ca-cert',
  mobileconfig: 'application/x-apple-aspen-config',
} as const;

/**
 * GET `/root-ca.crt`, `.der`, `.mobileconfig`: what a machine has to trust to speak with us. It is no secret, and nobody
 * needs a login for it; whoever trusts it compares the fingerprint first.
 * @throws RegistryError 404 where the certificate is not of our own making
 */
export function rootCaAnswer(rootCa: RootCa | undefined, form: keyof typeof TYPES): Response {
  if (rootCa === undefined) throw nothingHere();
  const bodies = { crt: rootCa.pem, der: Buffer.from(rootCa.der), mobileconfig: rootCa.mobileConfig };
  const body = Buffer.from(bodies[form]);
  return new Response(body, {
    headers: {
      'Content-Type': TYPES[form],
      'Content-Length': String(body.byteLength),
      'Content-Disposition': `attachment; filename="entrepot-root-ca.${form}"`,
      'Entrepot-Fingerprint-SHA256': rootCa.fingerprint,
    },
  });
}
