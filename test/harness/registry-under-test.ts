import { startDockerRegistry } from './docker-registry.ts';
import { startEntrepot } from './entrepot.ts';
import type { RegistryOptions, RunningRegistry } from './running-registry.ts';

/**
 * Starts the registry that a client is tried against: Entrepot, or with `ENTREPOT_TEST_REGISTRY=docker-registry`
 * Debian's, to tell a fault of a test or of a client from one of ours.
 */
export async function startRegistryUnderTest(options: RegistryOptions = {}): Promise<RunningRegistry> {
  const wanted = process.env['ENTREPOT_TEST_REGISTRY'] ?? 'entrepot';
  if (wanted === 'entrepot') return await startEntrepot(options);
  if (wanted === 'docker-registry') return await startDockerRegistry(options);
  throw new Error(`ENTREPOT_TEST_REGISTRY is "${wanted}"; it can be entrepot or docker-registry`);
}
