import type { Digest } from '../oci/digest.ts';

/** Of each digest so many bits are kept, in words of 32: two that agree in them cannot be made. */
const WORDS = 4;
const HEX_OF_WORD = 8;
/** Part of the table that is filled before it grows. */
const FULL = 0.6;

/**
 * A set of digests in 16 bytes each (some 27 with the room between them), for millions of them. Digests are told apart by
 * their first 128 bits, whatever their algorithm.
 */
export class DigestSet {
  #table: Uint32Array;
  #mask: number;
  #size = 0;
  readonly #words = new Uint32Array(WORDS);

  /** @param expected how many digests there will be, so that the table need not grow */
  constructor(expected = 1024) {
    const slots = 2 ** Math.max(4, Math.ceil(Math.log2(expected / FULL)));
    this.#table = new Uint32Array(slots * WORDS);
    this.#mask = slots - 1;
  }

  get size(): number {
    return this.#size;
  }

  /** @returns whether it was not there yet */
  add(digest: Digest): boolean {
    this.#read(digest);
    const slot = this.#slot();
    if (!this.#isFree(slot)) return false;
    this.#table.set(this.#words, slot * WORDS);
    this.#size += 1;
    if (this.#size > (this.#mask + 1) * FULL) this.#grow();
    return true;
  }

  has(digest: Digest): boolean {
    this.#read(digest);
    return !this.#isFree(this.#slot());
  }

  /** The set as bytes; `from` reads them. */
  bytes(): Uint8Array {
    return new Uint8Array(this.#table.buffer);
  }

  /** @returns undefined for bytes that are no set's */
  static from(bytes: Uint8Array): DigestSet | undefined {
    const slots = bytes.byteLength / (WORDS * 4);
    if (!Number.isInteger(Math.log2(slots)) || slots < 2) return undefined;
    const set = new DigestSet(1);
    set.#table = new Uint32Array(bytes.slice().buffer);
    set.#mask = slots - 1;
    for (let slot = 0; slot < slots; slot += 1) if (!set.#isFree(slot)) set.#size += 1;
    return set.#size < slots ? set : undefined;
  }

  /** Character by character: half the time of cutting the digest up and parsing its pieces. */
  #read(digest: Digest): void {
    const start = digest.indexOf(':') + 1;
    let any = 0;
    for (let word = 0; word < WORDS; word += 1) {
      let value = 0;
      const end = start + (word + 1) * HEX_OF_WORD;
      for (let at = end - HEX_OF_WORD; at < end; at += 1) {
        const code = digest.charCodeAt(at);
        // '0' is 48; 'a' is 97, and stands for 10.
        value = (value << 4) | (code < 58 ? code - 48 : code - 87);
      }
      this.#words[word] = value;
      any |= value;
    }
    // All zeros stand for a free slot.
    if (any === 0) this.#words[0] = 1;
  }

  /** Where the digest that was read is, or would be. */
  #slot(): number {
    for (let slot = (this.#words[0] ?? 0) & this.#mask; ; slot = (slot + 1) & this.#mask) {
      if (this.#isFree(slot)) return slot;
      let same = true;
      for (let word = 0; word < WORDS && same; word += 1) {
        same = this.#table[slot * WORDS + word] === this.#words[word];
      }
      if (same) return slot;
    }
  }

  #isFree(slot: number): boolean {
    for (let word = 0; word < WORDS; word += 1) if (this.#table[slot * WORDS + word] !== 0) return false;
    return true;
  }

  #grow(): void {
    const before = this.#table;
    this.#table = new Uint32Array(before.length * 2);
    this.#mask = this.#table.length / WORDS - 1;
    for (let at = 0; at < before.length; at += WORDS) {
      this.#words.set(before.subarray(at, at + WORDS));
      if (this.#words.some((word) => word !== 0)) this.#table.set(this.#words, this.#slot() * WORDS);
    }
  }
}
