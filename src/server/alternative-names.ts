/**
 * The alternative names of a certificate, read from its DER. The text that runtimes make of them joins names by commas
 * that a name may hold itself (CVE-2021-44532).
 */

/** 2.5.29.17 (RFC 5280 §4.2.1.6). */
const SUBJECT_ALTERNATIVE_NAME = '551d11';

/** Names of the kinds that are text or an address, by their context tags. */
const KINDS: Readonly<Record<number, string>> = { 0x81: 'email', 0x82: 'DNS', 0x86: 'URI', 0x87: 'IP' };

interface Element {
  readonly tag: number;
  readonly content: Buffer;
}

/**
 * Names with their kind: `DNS:host`, `email:who@example.com`, `URI:spiffe://…`, `IP:10.0.0.1`; others are left out.
 * @param der a certificate
 * @throws RangeError when it is none
 */
export function alternativeNames(der: Buffer): readonly string[] {
  const [certificate] = elements(der);
  const [body] = elements(certificate?.content ?? Buffer.alloc(0));
  // Of the body's parts the extensions are the one with the context tag 3.
  const extensions = elements(body?.content ?? Buffer.alloc(0)).find(({ tag }) => tag === 0xa3);
  if (extensions === undefined) return [];
  const [list] = elements(extensions.content);
  for (const extension of elements(list?.content ?? Buffer.alloc(0))) {
    const parts = elements(extension.content);
    if (parts[0]?.content.toString('hex') !== SUBJECT_ALTERNATIVE_NAME) continue;
    const [names] = elements(parts.at(-1)?.content ?? Buffer.alloc(0));
    return elements(names?.content ?? Buffer.alloc(0)).flatMap(nameOf);
  }
  return [];
}

function nameOf({ tag, content }: Element): readonly string[] {
  const kind = KINDS[tag];
  if (kind === undefined) return [];
  if (kind !== 'IP') return [`${kind}:${content.toString('latin1')}`];
  if (content.length === 4) return [`IP:${[...content].join('.')}`];
  const groups = content.toString('hex').match(/.{4}/g) ?? [];
  return [`IP:${groups.map((group) => Number.parseInt(group, 16).toString(16)).join(':')}`];
}

/** The elements that lie one behind the other in the bytes. */
function elements(bytes: Buffer): readonly Element[] {
  const found: Element[] = [];
  for (let at = 0; at < bytes.length;) {
    const tag = bytes.readUInt8(at);
    let length = bytes.readUInt8(at + 1);
    let from = at + 2;
    if (length > 0x80) {
      const size = length - 0x80;
      length = bytes.readUIntBE(from, size);
      from += size;
    }
    if (from + length > bytes.length) throw new RangeError('a certificate ends before it should');
    found.push({ tag, content: bytes.subarray(from, from + length) });
    at = from + length;
  }
  return found;
}
