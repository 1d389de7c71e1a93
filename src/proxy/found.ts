import { RegistryError } from '../oci/errors.ts';

const UNKNOWN: ReadonlySet<string> = new Set(['BLOB_UNKNOWN', 'MANIFEST_UNKNOWN', 'NAME_UNKNOWN']);

/** What there is, or undefined where the registry says that there is nothing. */
export async function found<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof RegistryError && UNKNOWN.has(error.code)) return undefined;
    throw error;
  }
}
