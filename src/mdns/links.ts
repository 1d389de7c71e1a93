/** The networks that this machine is on, as multicast DNS sees them: an address family of an interface is one. */
import { existsSync, readFileSync } from 'node:fs';
import { BlockList } from 'node:net';
import { networkInterfaces, type NetworkInterfaceInfo } from 'node:os';

/** Of one interface; a host of many more is found by those. */
const MOST_ADDRESSES = 24;

/** One address family on one interface: what is asked there is answered there, and nowhere else (RFC 6762 §14, §20). */
export interface Channel {
  /** Such as `eth0 IPv4`; tells channels apart. */
  readonly key: string;
  readonly family: 'IPv4' | 'IPv6';
  /** What the multicast socket is told to leave by: an address of IPv4, or `::%zone`. */
  readonly leaveBy: string;
  /** What follows the `%` in an IPv6 address of this link. */
  readonly zone: string;
  /** Every address of the interface, of both families, without zones, sorted: those that are valid there (§6.2). */
  readonly addresses: readonly string[];
  /** Whether an address is one of this link's, which is who may be answered (§11). */
  readonly isLocal: (address: string) => boolean;
}

/** @param only the addresses to announce and to speak by, in place of all that are not of this machine alone */
export function currentChannels(only?: readonly string[]): Channel[] {
  return Object.entries(networkInterfaces()).flatMap(([name, list = []]) => {
    const wanted = list.filter(({ address, internal }) => only?.includes(address) ?? !internal);
    if (wanted.length === 0 || (only === undefined && !isForNeighbours(name))) return [];
    return channelsOf(name, wanted);
  });
}

/**
 * Which channel a packet came by. Sockets of Node do not tell; the sender's address does, as only senders of the link
 * itself are of interest: a zone names the interface, else it is the one whose network has the address.
 */
export function channelOf(channels: Iterable<Channel>, address: string, family: string): Channel | undefined {
  const [bare = '', zone] = address.split('%');
  for (const channel of channels) {
    if (channel.family !== family) continue;
    if (zone === undefined ? channel.isLocal(bare) : channel.zone === zone) return channel;
  }
  return undefined;
}

function channelsOf(name: string, list: readonly NetworkInterfaceInfo[]): Channel[] {
  const addresses = [...new Set(list.map(({ address }) => bareAddress(address)))]
    .sort()
    .slice(0, MOST_ADDRESSES);
  const scope = list.find(({ scopeid = 0 }) => scopeid > 0)?.scopeid;
  // Windows numbers its interfaces where others name them.
  const zone = process.platform === 'win32' && scope !== undefined ? String(scope) : name;
  return (['IPv4', 'IPv6'] as const).flatMap((family) => {
    const own = list.filter((each) => each.family === family);
    const [first] = own;
    if (first === undefined) return [];
    const leaveBy = family === 'IPv4' ? first.address : `::%${zone}`;
    return [{ key: `${name} ${family}`, family, leaveBy, zone, addresses, isLocal: within(own) }];
  });
}

function bareAddress(address: string): string {
  return address.split('%')[0] ?? '';
}

/** Whether an address is in one of the networks. */
function within(list: readonly NetworkInterfaceInfo[]): (address: string) => boolean {
  const networks = new BlockList();
  for (const { cidr, family } of list) {
    const [network = '', bits = ''] = cidr?.split('/') ?? [];
    // One of them stands without a network that could be read; the others count.
    if (network !== '') networks.addSubnet(bareAddress(network), Number(bits), word(family));
  }
  const family = word(list[0]?.family ?? 'IPv4');
  return (address) => networks.check(address, family);
}

function word(family: string): 'ipv4' | 'ipv6' {
  return family === 'IPv6' ? 'ipv6' : 'ipv4';
}

/**
 * Whether there can be neighbours who ask. On Linux two kinds have none: lines to one other machine, such as those of
 * private networks, on which a name of this link would mean nothing, and the ends of containers' cables, of which there can
 * be hundreds, and whose bridge is an interface of its own.
 */
function isForNeighbours(name: string): boolean {
  if (process.platform !== 'linux') return true;
  const folder = `/sys/class/net/${name}`;
  try {
    const flags = Number(readFileSync(`${folder}/flags`, 'latin1'));
    return (flags & MULTICAST) !== 0 && (flags & POINT_TO_POINT) === 0 && !existsSync(`${folder}/brport`);
  } catch {
    return true; // a container may not see them
  }
}

/** `IFF_POINTOPOINT` and `IFF_MULTICAST` of `linux/if.h`. */
const POINT_TO_POINT = 0x10;
const MULTICAST = 0x10_00;
