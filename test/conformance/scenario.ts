import type { Context } from './context.ts';

/**
 * How strict to be: `1.1` is what the stable specification (1.1.1) makes a duty, `dev` what its main branch
 * does: digest headers everywhere, upload cancelling, `?tag=` and more.
 */
export type Level = '1.1' | 'dev';

/**
 * Where a test comes from: `suite` is a test of the specification's own newest suite, `previous` one that only
 * its suite up to 1.1.1 has, `spec` a statement of the specification that neither tests, and `ours` a choice of
 * this project where the specification leaves one, or a need of real clients.
 */
export type Basis = 'suite' | 'previous' | 'spec' | 'ours';

/** One test. It passes by returning, fails by throwing, and is skipped by throwing `Unsupported`. */
export interface Step {
  readonly name: string;
  /** Defaults to its scenario's. */
  readonly basis?: Basis;
  /** The only level that it is run at; both, when absent. */
  readonly level?: Level;
  /** Another step of the scenario: this one is skipped when that one is. When that one fails, it runs. */
  readonly needs?: string;
  readonly run: (context: Context) => Promise<void>;
}

/** Steps that share what they pushed, run in order; a result's name is the scenario's, a slash and the step's. */
export interface Scenario {
  readonly name: string;
  readonly basis: Basis;
  readonly level?: Level;
  readonly steps: readonly Step[];
}

/** A value that one step leaves for the later ones. */
export class Kept<T> {
  readonly #what: string;
  #value: T | undefined;

  /** `what` names the value in the failure of a step that finds it missing. */
  constructor(what: string) {
    this.#what = what;
  }

  set(value: T): T {
    this.#value = value;
    return value;
  }

  /** @throws Error when no step has left it */
  get(): T {
    if (this.#value === undefined) throw new Error(`an earlier step left no ${this.#what}`);
    return this.#value;
  }
}
