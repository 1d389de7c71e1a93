import { BlockList, isIP } from 'node:net';

/** An IPv4 address in IPv6 form (`::ffff:10.0.0.1`), as a socket for both kinds reports it. */
const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i;

/** An address in its usual form: IPv4 where it is one, without the zone of a link-local address. */
export function plainAddress(address: string): string {
  return MAPPED.exec(address)?.[1] ?? address.replace(/%.*$/, '');
}

/**
 * Whether an address is one of the addresses or in one of the blocks (`10.0.0.0/8`, `fd00::/8`). What is no address,
 * such as the `''` of a unix socket, is in none.
 * @throws Error for a block that cannot be read
 */
export function ipRange(blocks: readonly string[]): (address: string) => boolean {
  const list = new BlockList();
  for (const block of blocks) {
    const [address = '', bits] = block.split('/');
    const plain = plainAddress(address);
    const kind = isIP(plain) === 6 ? 'ipv6' : 'ipv4';
    if (bits === undefined) list.addAddress(plain, kind);
    else list.addSubnet(plain, Number(bits) - (plain === address || kind === 'ipv6' ? 0 : 96), kind);
  }
  return (address) => {
    const plain = plainAddress(address);
    const version = isIP(plain);
    return version !== 0 && list.check(plain, version === 6 ? 'ipv6' : 'ipv4');
  };
}
