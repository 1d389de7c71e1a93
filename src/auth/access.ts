/** Who asks, and what for: what the protocol needs to know of authentication. */
import type { RepositoryName } from '../oci/name.ts';

export type Action = 'pull' | 'push' | 'delete';

/** What a request needs: actions on one repository, or the list of all repositories. */
export type Scope =
  | { readonly type: 'repository'; readonly name: RepositoryName; readonly actions: readonly Action[] }
  | { readonly type: 'catalog' };

/** Who made a request, as far as it was proven. */
export interface Actor {
  /** The account's name; `''` is the anonymous account. */
  readonly name: string;
  /** Whether the actor has a right beyond those that the request was let in for. */
  may(action: Action, repository: RepositoryName): Promise<boolean>;
}

export interface Access {
  /**
   * Identifies who makes a request and checks that all of the scopes are granted.
   * @throws RegistryError `UNAUTHORIZED` (with the challenge in its headers) or `DENIED`
   */
  authorize(request: Request, remoteAddress: string, scopes: readonly Scope[]): Promise<Actor>;
}

const anyone: Actor = {
  name: '',
  may: () => Promise.resolve(true),
};

/** Everybody may do everything: a registry without `auth`. */
export const openAccess: Access = {
  authorize: () => Promise.resolve(anyone),
};
