import { RegistryError } from '../oci/errors.ts';

/** For paths that lead nowhere, or to what this registry does not have. */
export function nothingHere(): RegistryError {
  return new RegistryError('NAME_UNKNOWN', 'there is nothing at this path', { status: 404 });
}
