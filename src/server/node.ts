import type { Listener, ListenOptions } from './listener.ts';
export async function listen(options: ListenOptions): Promise<Listener> {
  throw new Error(`not yet ${options.reusePort}`);
}
