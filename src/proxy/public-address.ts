import { lookup } from 'node:dns/promises';
import { BlockList, isIP } from 'node:net';

/** Addresses that only mean something inside a network: an upstream's answer must not lead us there. */
const PRIVATE = new BlockList();
for (const [base, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['224.0.0.0', 3],
] as const) {
  PRIVATE.addSubnet(base, bits, 'ipv4');
}
for (const [base, bits] of [
  ['::', 96],
  ['::ffff:0:0:0', 96],
  ['64:ff9b::', 96],
  ['64:ff9b:1::', 48],
  ['2001::', 32],
  ['2002::', 16],
  ['fec0::', 10],
  ['fc00::', 7],
  ['fe80::', 10],
  ['ff00::', 8],
] as const) {
  PRIVATE.addSubnet(base, bits, 'ipv6');
}

/** Whether an address is one of the public network. What is no address is not. */
export function isPublicAddress(address: string): boolean {
  const plain = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1] ?? address;
  const version = isIP(plain);
  return version !== 0 && !PRIVATE.check(plain, version === 6 ? 'ipv6' : 'ipv4');
}

/**
 * An address of a host, of which all are public as its name is resolved now. Who connects must use this very address: the
 * next answer of the name service may be another.
 * @throws Error when there is no such host
 * @returns undefined when any of its addresses is not public
 */
export async function publicAddressOf(hostname: string): Promise<string | undefined> {
  const plain = hostname.replace(/^\[|\]$/g, '');
  if (isIP(plain) !== 0) return isPublicAddress(plain) ? plain : undefined;
  const addresses = await lookup(plain, { all: true });
  return addresses.every(({ address }) => isPublicAddress(address)) ? addresses[0]?.address : undefined;
}
