/** Which tags must not be moved or deleted. */
import type { Digest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import { type Glob, glob } from '../oci/glob.ts';
import type { RepositoryName, Tag } from '../oci/name.ts';

/** Tags by patterns (oci/glob.ts): of any of the repositories, any of the tags, and none of the exceptions. */
export interface TagPatterns {
  readonly repositories: readonly string[];
  readonly tags: readonly string[];
  readonly except: readonly string[];
}

export interface TagRulesOptions {
  /** Neither moved to another digest, once they are there, nor deleted. */
  readonly immutable: readonly TagPatterns[];
  /** Moved as one likes, but not deleted. */
  readonly protected: readonly TagPatterns[];
}

/** What a rule says of a tag. */
export type TagState = 'immutable' | 'protected';

interface Rule {
  readonly state: TagState;
  readonly repositories: readonly Glob[];
  readonly tags: readonly Glob[];
  readonly except: readonly Glob[];
}

/** The rules in force; immutable. A tag that two rules name has the stricter one. */
export class TagRules {
  readonly #rules: readonly Rule[];

  constructor(options: TagRulesOptions) {
    this.#rules = (['immutable', 'protected'] as const).flatMap((state) =>
      options[state].map(({ repositories, tags, except }) => ({
        state,
        repositories: repositories.map(glob),
        tags: tags.map(glob),
        except: except.map(glob),
      })),
    );
  }

  /** Whether there is none for any repository. */
  get isEmpty(): boolean {
    return this.#rules.length === 0;
  }

  /**
   * The rules for one repository; undefined where there are none, so that nothing need be asked of its tags.
   * @param names all the names that it has
   */
  of(...names: readonly RepositoryName[]): RepositoryTagRules | undefined {
    const rules = this.#rules.filter(({ repositories }) => names.some((name) => matches(repositories, name)));
    return rules.length === 0 ? undefined : new RepositoryTagRules(rules);
  }
}

export class RepositoryTagRules {
  readonly #rules: readonly Rule[];

  constructor(rules: readonly Rule[]) {
    this.#rules = rules;
  }

  stateOf(tag: Tag): TagState | undefined {
    return this.#rules.find(({ tags, except }) => matches(tags, tag) && !matches(except, tag))?.state;
  }

  /** @throws RegistryError `DENIED` (409) for an immutable tag that is there and would get another digest */
  readonly checkMove = (tag: Tag, current: Digest | null, next: Digest): void => {
    if (current === null || current === next || this.stateOf(tag) !== 'immutable') return;
    // The first words are those by which kaniko's --push-ignore-immutable-tag-errors knows such an answer.
    const message = `The repository has enabled tag immutability: the tag ${tag} stays where it is`;
    throw new RegistryError('DENIED', message, { status: 409, detail: { tag, digest: current } });
  };

  /** @throws RegistryError `DENIED` (409) for a tag that must stay */
  readonly checkDeletion = (tag: Tag): void => {
    const state = this.stateOf(tag);
    if (state === undefined) return;
    throw new RegistryError('DENIED', `the tag ${tag} is ${state}: it cannot be deleted`, {
      status: 409,
      detail: { tag, state },
    });
  };
}

function matches(patterns: readonly Glob[], text: string): boolean {
  return patterns.some((pattern) => pattern(text));
}
