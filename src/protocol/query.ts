import { badParameter } from './errors.ts';

/** The query of a request. Parameters that we do not know (`ns`, and what comes later) are left alone. */
export class Query {
  readonly #parameters: URLSearchParams | undefined;

  /** `text` is what follows the `?`; empty for none. @throws RegistryError 400 for malformed percent-encoding */
  constructor(text: string) {
    if (text === '') return;
    if (/%(?![0-9a-fA-F]{2})/.test(text)) throw badParameter('the query has a malformed percent-encoding');
    this.#parameters = new URLSearchParams(text);
  }

  /** The parameter's value; undefined when it is missing. @throws RegistryError 400 when it is given twice */
  one(name: string): string | undefined {
    const values = this.all(name);
    if (values.length > 1) throw badParameter(`the query has the parameter "${name}" more than once`);
    return values[0];
  }

  /** Lets no other parameters pass, where one that is misspelt would do harm. @throws RegistryError 400 */
  only(...names: readonly string[]): void {
    for (const name of this.#parameters?.keys() ?? []) {
      if (!names.includes(name))
        throw badParameter(`the query has an unknown parameter; known are ${names.join(', ')}`, {
          parameter: name.slice(0, 64),
        });
    }
  }

  /** Whether a switch is set: `?name`, `?name=true`. @throws RegistryError 400 for another value */
  flag(name: string): boolean {
    const value = this.one(name);
    if (value === undefined || value === 'false') return false;
    if (value === '' || value === 'true') return true;
    throw badParameter(`${name} is true or false`);
  }

  /** All values of a parameter that may be repeated. */
  all(name: string): readonly string[] {
    return this.#parameters?.getAll(name) ?? [];
  }

  has(name: string): boolean {
    return this.#parameters?.has(name) ?? false;
  }

  /**
   * The size of a page: `n` or, without it, `usual`; never above `most`, so that nobody can make us gather
   * more (CVE-2023-2253). @throws RegistryError 400 unless `n` is a whole number from 0 up
   */
  pageSize(usual: number, most: number): number {
    const text = this.one('n');
    if (text === undefined) return Math.min(usual, most);
    if (!/^[0-9]{1,20}$/.test(text))
      throw badParameter('n must be a whole number from 0 up', { n: text.slice(0, 32) });
    return Math.min(Number(text), most);
  }
}
