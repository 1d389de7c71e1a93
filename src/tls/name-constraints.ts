/** What an authority may sign for: X.509 name constraints (RFC 5280 §4.2.1.10), those of DNS names alone. */

/** The extension's identifier. */
export const NAME_CONSTRAINTS = '2.5.29.30';

/** The extension's value: only DNS names that are one of `domains` or below it, and any address. */
export function encodeConstraints(domains: readonly string[]): Uint8Array {
  const subtree = (name: string) => {
    const bytes = Buffer.from(name, 'latin1');
    return sequence(0x30, sequence(0x82, bytes));
  };
  return sequence(0x30, sequence(0xa0, Buffer.concat(domains.map(subtree))));
}

/** Whether an authority of those constraints may sign for `name`, a DNS name; without any it may. */
export function isPermitted(name: string, domains: readonly string[]): boolean {
  const asked = name.toLowerCase();
  return (
    domains.length === 0 ||
    domains.some((domain) => asked === domain.toLowerCase() || asked.endsWith(`.${domain.toLowerCase()}`))
  );
}

function sequence(tag: number, content: Buffer): Buffer {
  const { length } = content;
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255];
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}
