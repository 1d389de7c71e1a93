/**
 * Addresses and blocks of them. Not by `BlockList` of node:net: it reads the address anew for each block, and `::/0` holds
 * IPv4 addresses in it.
 */
import { isIP } from 'node:net';

/** An IPv4 address in IPv6 form (`::ffff:10.0.0.1`), as a socket for both kinds reports it. */
const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i;

/** Bits before the IPv4 address in its IPv6 form. */
const MAPPED_BITS = 96;
const MAPPED_GROUP = 0xff_ff;

/** An address as four numbers of 32 bits; IPv4 in its IPv6 form. */
export type IpAddress = readonly [number, number, number, number];

interface Block {
  readonly base: IpAddress;
  readonly mask: IpAddress;
  readonly isIpv4: boolean;
}

/** An address in its usual form: IPv4 where it is one, without the zone of a link-local address. */
export function plainAddress(address: string): string {
  return MAPPED.exec(address)?.[1] ?? address.replace(/%.*$/, '');
}

/** Reads an address in any of its forms. undefined for what is none, such as the `''` of a unix socket. */
export function parseAddress(address: string): IpAddress | undefined {
  const version = isIP(address);
  if (version === 0) return undefined;
  if (version === 4) return [0, 0, MAPPED_GROUP, parseIpv4(address)];
  const [plain = ''] = address.split('%', 1);
  const [before = [], after = []] = plain.split('::', 2).map(groupsOf);
  const groups = [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after];
  const word = (index: number) => (((groups[index] ?? 0) << 16) | (groups[index + 1] ?? 0)) >>> 0;
  return [word(0), word(2), word(4), word(6)];
}

/**
 * Whether an address is one of the addresses or in one of the blocks (`10.0.0.0/8`, `fd00::/8`; bits behind the block's
 * own are passed over). A block of IPv6 holds no IPv4 address, whatever its size, and undefined is in none.
 * @throws Error for a block that cannot be read
 */
export function ipRange(blocks: readonly string[]): (address: IpAddress | undefined) => boolean {
  const compiled = blocks.map(parseBlock);
  return (address) => {
    if (address === undefined) return false;
    const ipv4 = isIpv4(address);
    for (const { base, mask, isIpv4: isBlockOfIpv4 } of compiled) {
      if (ipv4 === isBlockOfIpv4 && isWithin(address, base, mask)) return true;
    }
    return false;
  };
}

function parseBlock(block: string): Block {
  const [text = '', size, ...more] = block.split('/');
  const address = parseAddress(text);
  const shift = text.includes(':') ? 0 : MAPPED_BITS;
  const bits = size === undefined ? 128 : /^\d{1,3}$/.test(size) ? Number(size) + shift : NaN;
  if (address === undefined || more.length > 0 || !(bits <= 128)) {
    throw new Error(`"${block}" is neither an address nor a block such as 10.0.0.0/8 or fd00::/8`);
  }
  const mask: IpAddress = [maskOf(bits), maskOf(bits - 32), maskOf(bits - 64), maskOf(bits - 96)];
  const base: IpAddress = [
    address[0] & mask[0],
    address[1] & mask[1],
    address[2] & mask[2],
    address[3] & mask[3],
  ];
  return { base, mask, isIpv4: bits >= MAPPED_BITS && isIpv4(address) };
}

function isIpv4(address: IpAddress): boolean {
  return address[0] === 0 && address[1] === 0 && address[2] === MAPPED_GROUP;
}

function isWithin(address: IpAddress, base: IpAddress, mask: IpAddress): boolean {
  return (
    // From behind, where IPv4 addresses differ.
    (address[3] & mask[3]) === base[3] &&
    (address[2] & mask[2]) === base[2] &&
    (address[1] & mask[1]) === base[1] &&
    (address[0] & mask[0]) === base[0]
  );
}

/** The first bits of 32; none below 0 and all above 32. A shift by 32 would be one by 0. */
function maskOf(bits: number): number {
  if (bits <= 0) return 0;
  return bits >= 32 ? -1 : -1 << (32 - bits);
}

/** The groups of 16 bits in a part of an IPv6 address, of which the last two may be written as IPv4. */
function groupsOf(part: string): number[] {
  if (part === '') return [];
  return part.split(':').flatMap((group) => {
    if (!group.includes('.')) return [Number.parseInt(group, 16)];
    const bits = parseIpv4(group);
    return [bits >>> 16, bits & 0xff_ff];
  });
}

function parseIpv4(address: string): number {
  return address.split('.').reduce((bits, byte) => ((bits << 8) | Number(byte)) >>> 0, 0);
}
