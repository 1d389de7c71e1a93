import { RegistryError } from '../oci/errors.ts';

/** A form with a name, a password and some scopes; a token as a password has a few KiB. */
const MAX_FORM = 64 * 1024;

/**
 * The fields of a form that was posted.
 * @throws RegistryError 415 for another content type, 413 for a form above 64 KiB
 */
export async function readForm(request: Request): Promise<URLSearchParams> {
  const type = request.headers.get('content-type')?.split(';')[0]?.trim().toLowerCase();
  if (type !== 'application/x-www-form-urlencoded') {
    throw new RegistryError('UNSUPPORTED', 'a form is expected (application/x-www-form-urlencoded)', {
      status: 415,
    });
  }
  const chunks: Uint8Array[] = [];
  let size = 0;
  const reader = request.body?.getReader();
  for (let next = await reader?.read(); next?.done === false; next = await reader?.read()) {
    size += next.value.byteLength;
    if (size > MAX_FORM) {
      await reader?.cancel().catch(() => undefined);
      throw new RegistryError('SIZE_INVALID', 'the form is too large', { status: 413 });
    }
    chunks.push(next.value);
  }
  return new URLSearchParams(Buffer.concat(chunks).toString('utf8'));
}
