/** The networks that this machine is on, as multicast DNS sees them: an address family of an interface is one. */
import { existsSync } from 'node:fs';
import { BlockList } from 'node:net';
import { networkInterfaces, type NetworkInterfaceInfo } from 'node:os';

/** One address family on one interface: what is asked there is answered there, and nowhere else (RFC 6762 §14, §20). */
export interface Channel {
  /** Such as `eth0 IPv4`; tells channels apart. */
  readonly key: string;
  readonly family: 'IPv4' | 'IPv6';
  /** What the multicast socket is told to leave by: an address of IPv4, or `::%zone`. */
  readonly leaveBy: string;
  /** Of IPv6: what follows the `%` in an address of this link. Empty for IPv4. */
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
    return wanted.length === 0 || isBridged(name) ? [] : channelsOf(name, wanted);
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
  const addresses = [...new Set(list.map(({ address }) => address.split('%')[0] ?? ''))].sort();
  return (['IPv4', 'IPv6'] as const).flatMap((family) => {
    const own = list.filter((each) => each.family === family);
    const [first] = own;
    if (first === undefined) return [];
    const scope = own.find(({ scopeid = 0 }) => scopeid > 0)?.scopeid;
    // Windows numbers its interfaces where others name them.
    const zone =
      family === 'IPv4' ? '' : process.platform === 'win32' && scope !== undefined ? String(scope) : name;
    const leaveBy = family === 'IPv4' ? first.address : `::%${zone}`;
    return [{ key: `${name} ${family}`, family, leaveBy, zone, addresses, isLocal: within(own) }];
  });
}

/** Whether an address is in one of the networks. */
function within(list: readonly NetworkInterfaceInfo[]): (address: string) => boolean {
  const networks = new BlockList();
  for (const { cidr, family } of list) {
    const [network = '', bits = ''] = cidr?.split('/') ?? [];
    // One of them stands without a network that could be read; the others count.
    if (network !== '') networks.addSubnet(network.split('%')[0] ?? '', Number(bits), word(family));
  }
  const family = word(list[0]?.family ?? 'IPv4');
  return (address) => networks.check(address, family);
}

function word(family: string): 'ipv4' | 'ipv6' {
  return family === 'IPv6' ? 'ipv6' : 'ipv4';
}

/**
 * Whether what is sent there is of a bridge that has its own interface: the ends of containers' cables on Linux, of which
 * a machine can have hundreds.
 */
function isBridged(name: string): boolean {
  return process.platform === 'linux' && existsSync(`/sys/class/net/${name}/brport`);
}
