import { hostname, networkInterfaces } from 'node:os';

/**
 * Every name and address by which this host is reached on its networks: what a certificate has to be for. Sorted, so that
 * it is the same until something changes. Addresses of a single link (`fe80::`) are left out: they need a zone, which no
 * certificate can have.
 */
export function hostNames(extras: readonly string[] = []): readonly string[] {
  const addresses = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .map(({ address }) => address)
    .filter((address) => !/^fe[89ab]/i.test(address) && !address.startsWith('169.254.'));
  const host = hostname().toLowerCase();
  const names = /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/.test(host)
    ? [host, ...(host.includes('.') ? [] : [`${host}.local`])]
    : [];
  const all = new Set(['127.0.0.1', '::1', ...addresses]);
  return [...new Set([...extras, 'localhost', ...names]), ...[...all].sort()];
}
