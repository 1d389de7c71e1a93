/** Messages of multicast DNS: dns-packet's, with what it leaves out of RFC 6762. */
import { isIP } from 'node:net';
import {
  type Answer,
  AUTHORITATIVE_ANSWER,
  decode,
  type DecodedPacket,
  encode,
  type Question,
} from 'dns-packet';

/** What a question asks for: `ANY`, and types that dns-packet's types leave out, are words as well. */
export interface Asked {
  readonly name: string;
  readonly type: string;
  /** Whether an answer to who asks alone will do (RFC 6762 §5.4). */
  readonly unicast: boolean;
}

/** A message that was read, and makes sense in multicast DNS. */
export interface Message {
  readonly id: number;
  readonly isResponse: boolean;
  /** More answers that are known follow (RFC 6762 §7.2). */
  readonly isTruncated: boolean;
  readonly questions: readonly Asked[];
  readonly answers: readonly Answer[];
  readonly authorities: readonly Answer[];
  readonly additionals: readonly Answer[];
}

/** What fits into one frame of Ethernet, in bytes, and leaves IPv6 its headers (RFC 6762 §17). */
const FITS = 1_440;
const HEADER = 12;
/** The fewest bytes that a question and a record can have. */
const LEAST_QUESTION = 5;
const LEAST_RECORD = 11;
/** The bit of a question's class that allows an answer to who asks alone. */
const UNICAST = 0x80_00;

/** @returns undefined for what cannot be read, or is none of multicast DNS's (RFC 6762 §18.3, §18.11) */
export function readMessage(bytes: Buffer): Message | undefined {
  if (bytes.length < HEADER || (bytes.readUInt16BE(2) & 0x78_0f) !== 0) return undefined;
  const [questions = 0, ...records] = [4, 6, 8, 10].map((at) => bytes.readUInt16BE(at));
  // dns-packet makes room for as many as the header promises.
  const least = questions * LEAST_QUESTION + records.reduce((sum, count) => sum + count, 0) * LEAST_RECORD;
  if (HEADER + least > bytes.length) return undefined;
  let packet: DecodedPacket;
  try {
    packet = decode(bytes);
  } catch {
    return undefined;
  }
  return {
    id: packet.id ?? 0,
    isResponse: packet.type === 'response',
    isTruncated: packet.flag_tc,
    questions: (packet.questions ?? []).flatMap(asked),
    answers: packet.answers ?? [],
    authorities: packet.authorities ?? [],
    additionals: packet.additionals ?? [],
  };
}

/** dns-packet has no name for the class IN with the bit of RFC 6762 §5.4. Questions of other classes are nobody's. */
function asked({ name, type, class: kind = 'IN' }: Question): Asked[] {
  const written: string = kind;
  const unicast = written === `UNKNOWN_${UNICAST + 1}`;
  return unicast || kind === 'IN' || kind === 'ANY' ? [{ name, type, unicast }] : [];
}

/** A question, with what is known of its answers already, or (`authorities`) what is claimed. */
export function query(
  questions: readonly Asked[],
  {
    known = [],
    claims = [],
  }: { readonly known?: readonly Answer[]; readonly claims?: readonly Answer[] } = {},
): Buffer {
  const size = questions.reduce((sum, { name }) => sum + Buffer.byteLength(name) + 6, HEADER);
  const bytes = encode({
    type: 'query',
    id: 0,
    questions: questions.map(plainQuestion),
    // Who has been heard and is not told so answers once more.
    answers: fitting(known, size),
    authorities: [...claims],
  });
  let at = HEADER;
  for (const { name, unicast } of questions) {
    at += Buffer.byteLength(name) + 4;
    if (unicast) bytes.writeUInt16BE(UNICAST + 1, at);
    at += 2;
  }
  return bytes;
}

function plainQuestion({ name, type }: Asked): Question {
  return { name, type: type as Question['type'] };
}

/** As many messages as it takes for all answers; the additional ones as far as there is room for them in the last one. */
export function responses(answers: readonly Answer[], additionals: readonly Answer[] = []): Buffer[] {
  const groups: Answer[][] = [];
  let size = Infinity;
  for (const answer of answers) {
    const length = lengthOf(answer);
    if (size + length > FITS) {
      groups.push([]);
      size = HEADER;
    }
    groups.at(-1)?.push(answer);
    size += length;
  }
  return groups.map((group, index) =>
    encode({
      type: 'response',
      id: 0,
      flags: AUTHORITATIVE_ANSWER,
      answers: group,
      additionals: index === groups.length - 1 ? fitting(additionals, size) : [],
    }),
  );
}

/**
 * For who asks as of any name server, from a port of his own: his number and question again, times so short that he asks
 * again soon, and no bits that he does not know (RFC 6762 §6.7).
 */
export function legacyResponse(
  { id, questions }: Message,
  answers: readonly Answer[],
  additionals: readonly Answer[],
): Buffer {
  const plain = (records: readonly Answer[]) =>
    records.map(
      (record) => ({ ...record, flush: false, ttl: Math.min(ttlOf(record), LEGACY_TTL) }) as Answer,
    );
  const names = new Set(answers.map(({ name }) => name.toLowerCase()));
  // What else was asked can be of any form, also of one that cannot be written again.
  const asking = questions.filter(({ name }) => names.has(name.toLowerCase())).map(plainQuestion);
  const size = asking.reduce((sum, { name }) => sum + Buffer.byteLength(name) + 6, HEADER);
  const shown = fitting(answers, size);
  const left = shown.reduce((sum, record) => sum + lengthOf(record), size);
  return encode({
    type: 'response',
    id,
    flags: AUTHORITATIVE_ANSWER,
    questions: asking,
    answers: plain(shown),
    additionals: plain(fitting(additionals, left)),
  });
}

/** Seconds. */
const LEGACY_TTL = 10;

function fitting(records: readonly Answer[], from: number): Answer[] {
  let size = from;
  return records.filter((record) => (size += lengthOf(record)) <= FITS);
}

function lengthOf(record: Answer): number {
  return bytesOf(record).length - HEADER;
}

function bytesOf(record: Answer): Buffer {
  return encode({ type: 'response', id: 0, answers: [record] });
}

/** Seconds. */
export function ttlOf(record: Answer): number {
  return 'ttl' in record ? (record.ttl ?? 0) : 0;
}

/** What is the same for two records that say the same, whatever their times: name, type, and data. */
export function recordKey(record: Answer): string {
  return `${record.name.toLowerCase()} ${record.type} ${dataOf(record).toString('latin1').toLowerCase()}`;
}

/** A record's data as it is sent, without compression: what claims are compared by (RFC 6762 §8.2). Empty for others' types. */
export function dataOf(record: Answer): Buffer {
  try {
    // Its name with the length before and the zero behind; type, class, ttl, and the length of the data.
    return bytesOf(record).subarray(HEADER + Buffer.byteLength(record.name) + 2 + 10);
  } catch {
    return Buffer.alloc(0);
  }
}

/** An address in the one way to write it. */
export function canonicalAddress(address: string): string {
  return isIP(address) === 6 ? new URL(`http://[${address}]`).hostname.slice(1, -1) : address;
}
