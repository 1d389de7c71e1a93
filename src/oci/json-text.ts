/**
 * A JSON reader for documents that strangers send and that programs in other languages read after us.
 * `JSON.parse` hides what matters there: duplicate keys (readers disagree on which one counts), how a number
 * was written (1e3 and 1.0 are no integers to a Go program), and `__proto__`. This one keeps objects as Maps
 * and numbers as text, uses no recursion, and costs time in proportion to the text.
 */

export type JsonValue = null | boolean | string | JsonNumber | readonly JsonValue[] | JsonObject;
export type JsonObject = ReadonlyMap<string, JsonValue>;

/** A number as it was written. */
export class JsonNumber {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

export interface JsonLimits {
  /** Most objects and arrays open at the same time. */
  readonly depth: number;
  /** Most values in the whole document; this bounds the memory it takes. */
  readonly values: number;
  /** A key given twice, or half of a surrogate pair in a string, is an error; else the last of equal keys counts. */
  readonly unambiguous: boolean;
}

/** The text is not JSON, or is beyond the limits. `position` counts UTF-16 code units from 0. */
export class JsonTextError extends Error {
  override readonly name = 'JsonTextError';
  readonly position: number;
  constructor(message: string, position: number) {
    super(message);
    this.position = position;
  }
}

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;

/** Reads one JSON text (RFC 8259, without a byte order mark). @throws JsonTextError */
export function parseJsonText(text: string, limits: JsonLimits): JsonValue {
  return new Reader(text, limits).document();
}

/** An object or array whose end has not been reached. */
type Open =
  | { readonly kind: 'object'; readonly members: Map<string, JsonValue>; key: string }
  | { readonly kind: 'array'; readonly items: JsonValue[] };

class Reader {
  private readonly text: string;
  private readonly limits: JsonLimits;
  // One per call: a sticky expression carries its position.
  private readonly number = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
  private at = 0;
  private values = 0;

  constructor(text: string, limits: JsonLimits) {
    this.text = text;
    this.limits = limits;
  }

  document(): JsonValue {
    const open: Open[] = [];
    for (;;) {
      let value = this.beginValue(open);
      // `value` is undefined when a container with something in it was opened: read what is in it first.
      while (value !== undefined) {
        const parent = open.at(-1);
        if (parent === undefined) return this.end(value);
        value = this.attach(parent, value, open);
      }
    }
  }

  /** Reads a whole scalar or empty container, or opens a container and stops before its first value. */
  private beginValue(open: Open[]): JsonValue | undefined {
    const code = this.peek();
    if (++this.values > this.limits.values) this.fail(`more than ${this.limits.values} values`);
    if (code === QUOTE) return this.string();
    if (code !== OPEN_OBJECT && code !== OPEN_ARRAY) return this.scalar(code);
    if (open.length >= this.limits.depth) this.fail(`nested deeper than ${this.limits.depth} levels`);
    this.at++;
    if (code === OPEN_ARRAY) {
      const items: JsonValue[] = [];
      if (this.take(CLOSE_ARRAY)) return items;
      open.push({ kind: 'array', items });
    } else {
      const members = new Map<string, JsonValue>();
      if (this.take(CLOSE_OBJECT)) return members;
      open.push({ kind: 'object', members, key: this.key(members) });
    }
    return undefined;
  }

  /** Puts a finished value into its container. @returns the container if that is now finished too */
  private attach(parent: Open, value: JsonValue, open: Open[]): JsonValue | undefined {
    if (parent.kind === 'array') {
      parent.items.push(value);
      if (this.take(COMMA)) return undefined;
      if (!this.take(CLOSE_ARRAY)) this.fail('expected a comma or the end of the array');
      open.pop();
      return parent.items;
    }
    parent.members.set(parent.key, value);
    if (this.take(COMMA)) {
      parent.key = this.key(parent.members);
      return undefined;
    }
    if (!this.take(CLOSE_OBJECT)) this.fail('expected a comma or the end of the object');
    open.pop();
    return parent.members;
  }

  private key(members: ReadonlyMap<string, JsonValue>): string {
    if (this.peek() !== QUOTE) this.fail('expected a key in quotes');
    const start = this.at;
    const key = this.string();
    if (this.limits.unambiguous && members.has(key)) {
      this.at = start;
      this.fail(`the key ${JSON.stringify(key.slice(0, 128))} is given twice`);
    }
    if (!this.take(COLON)) this.fail('expected a colon');
    return key;
  }

  private string(): string {
    const { text } = this;
    const start = this.at;
    let escaped = false;
    for (let i = start + 1; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code === QUOTE) {
        this.at = i + 1;
        return escaped ? this.unescape(start, i + 1) : text.slice(start + 1, i);
      }
      if (code === BACKSLASH) {
        escaped = true;
        i++;
      } else if (code < 0x20) {
        this.at = i;
        this.fail('a control character in a string');
      }
    }
    return this.fail('a string without an end');
  }

  private unescape(start: number, end: number): string {
    try {
      const value: unknown = JSON.parse(this.text.slice(start, end));
      if (typeof value === 'string') {
        if (!this.limits.unambiguous || !LONE_SURROGATE.test(value)) return value;
      }
    } catch {
      // Told below: the engine's own message differs between runtimes.
    }
    this.at = start;
    return this.fail('a string with a wrong escape');
  }

  private scalar(code: number): JsonValue {
    if (this.word('true')) return true;
    if (this.word('false')) return false;
    if (this.word('null')) return null;
    this.number.lastIndex = this.at;
    const number = this.number.exec(this.text)?.[0];
    if (number === undefined) {
      return this.fail(Number.isNaN(code) ? 'the text ends too early' : 'expected a value');
    }
    this.at += number.length;
    return new JsonNumber(number);
  }

  private word(word: string): boolean {
    if (!this.text.startsWith(word, this.at)) return false;
    this.at += word.length;
    return true;
  }

  private end(value: JsonValue): JsonValue {
    if (!Number.isNaN(this.peek())) this.fail('something follows the document');
    return value;
  }

  /** Steps over white space. @returns the code unit there, NaN at the end */
  private peek(): number {
    for (;;) {
      const code = this.text.charCodeAt(this.at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return code;
      this.at++;
    }
  }

  private take(code: number): boolean {
    if (this.peek() !== code) return false;
    this.at++;
    return true;
  }

  private fail(message: string): never {
    throw new JsonTextError(message, this.at);
  }
}
