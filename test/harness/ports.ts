import { createServer, type ListenOptions, type Server } from 'node:net';

/**
 * Below those that the system gives out by itself (from 32768): no client's connection and no `listen(0)` takes one of
 * these between two starts of a server.
 */
const FIRST = 12_000;
const LAST = 31_999;

/** Held, so that none of them is closed as garbage. */
const claims: Server[] = [];

/**
 * A TCP port on 127.0.0.1 that nobody listens on, and that no test gets until this process has ended: a server that is
 * stopped, or killed, can be started again there, and meanwhile nobody answers in its place.
 */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < LAST - FIRST; attempt++) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST + 1));
    // A name without a file (unix(7), "abstract"): one of all processes has it, and it goes when that one ends.
    const claim = await listening({ path: `\0entrepot-test-port-${port}` });
    if (claim === undefined) continue;
    claims.push(claim.unref());
    const trial = await listening({ port, host: '127.0.0.1' });
    if (trial === undefined) continue;
    await new Promise((resolve) => {
      trial.close(resolve);
    });
    return port;
  }
  throw new Error(`no port is free from ${FIRST} to ${LAST}`);
}

/** @returns nothing where somebody else has it */
async function listening(where: ListenOptions): Promise<Server | undefined> {
  const server = createServer();
  return await new Promise((resolve) => {
    server.once('error', () => resolve(undefined));
    server.listen(where, () => resolve(server));
  });
}
