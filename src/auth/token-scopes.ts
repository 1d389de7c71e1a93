/** The scopes that clients ask tokens for (distribution, docs/spec/auth/scope.md). */
import { isRepositoryName, type RepositoryName } from '../oci/name.ts';
import type { Action } from './access.ts';

/** More scopes in one request are passed over: docker asks for up to five, for mounts. */
const MAX_SCOPES = 100;

const ACTIONS: readonly Action[] = ['pull', 'push', 'delete'];

/** What is asked for, with scopes for the same repository united. */
export interface AskedScopes {
  readonly repositories: ReadonlyMap<RepositoryName, ReadonlySet<Action>>;
  readonly catalog: boolean;
}

/**
 * Reads scopes, each a text of `type:name:actions` separated by spaces. What is of no known type, has no valid name or an
 * unknown action asks for nothing.
 */
export function parseScopes(texts: readonly string[]): AskedScopes {
  const repositories = new Map<RepositoryName, Set<Action>>();
  let catalog = false;
  const scopes = texts.flatMap((text) => text.split(' ')).filter((scope) => scope !== '');
  for (const scope of scopes.slice(0, MAX_SCOPES)) {
    // The name may have a port, and so a colon: what is before the first one is the type, behind the last the actions.
    const first = scope.indexOf(':');
    const last = scope.lastIndexOf(':');
    if (first < 0 || first === last) continue;
    const type = scope.slice(0, first).replace(/\([a-z0-9]*\)$/, '');
    const name = scope.slice(first + 1, last);
    const actions = scope.slice(last + 1).split(',');
    if (type === 'registry' && name === 'catalog') catalog ||= actions.includes('*');
    if (type !== 'repository' || !isRepositoryName(name)) continue;
    const asked = repositories.get(name) ?? new Set<Action>();
    for (const action of ACTIONS) if (actions.includes(action) || actions.includes('*')) asked.add(action);
    repositories.set(name, asked);
  }
  return { repositories, catalog };
}
