import type { Listener, ListenOptions } from './listener.ts';

/**
 * Listens by what the runtime offers. The other implementation is not loaded.
 * @throws AddressUnavailable
 */
export async function listen(options: ListenOptions): Promise<Listener> {
  // Bun's own server does not tell whose certificate a client has.
  const ownServer = typeof Bun !== 'undefined' && options.tls?.clientCas === undefined;
  const runtime = ownServer ? await import('./bun.ts') : await import('./node.ts');
  return runtime.listen(options);
}

/** Whether several processes can listen on one port by themselves (SO_REUSEPORT): Bun, and Node from 22.12 on. */
export function sharesPorts(): boolean {
  if (typeof Bun !== 'undefined') return true;
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  return major > 22 || (major === 22 && minor >= 12);
}
