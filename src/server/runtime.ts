import type { Listener, ListenOptions } from './listener.ts';

/**
 * Listens by what the runtime offers. The other implementation is not loaded.
 * @throws AddressUnavailable
 */
export async function listen(options: ListenOptions): Promise<Listener> {
  const runtime = typeof Bun === 'undefined' ? await import('./node.ts') : await import('./bun.ts');
  return runtime.listen(options);
}
