/** Who asks, and what for: what the protocol needs to know of authentication. */
import type { RegistryError } from '../oci/errors.ts';
import type { RepositoryName } from '../oci/name.ts';

export type Action = 'pull' | 'push' | 'delete';

/** What a request needs: actions on one repository, or a list of repositories. */
export type Scope =
  | { readonly type: 'repository'; readonly name: RepositoryName; readonly actions: readonly Action[] }
  | { readonly type: 'catalog' }
  /** A search, which anybody may make: it finds what they see. */
  | { readonly type: 'search' };

/** A certificate that a client proved to hold, and that one of the configured authorities signed. */
export interface ClientCertificate {
  /** The subject's common name; `''` where it has none. */
  readonly commonName: string;
  /** The subject's organisational units. */
  readonly organizationalUnits: readonly string[];
  /** Alternative names, with their kind: `DNS:host`, `email:who@example.com`, `URI:spiffe://…`, `IP:…`. */
  readonly alternativeNames: readonly string[];
  /** SHA-256 of the certificate, in lower-case hexadecimal. */
  readonly fingerprint: string;
}

/** Where a request comes from, as far as the connection and proxies that are trusted tell. */
export interface Requester {
  /** The client's IP address; `''` where it is not known, as by a unix socket. */
  readonly remoteAddress: string;
  /** Whether the client speaks TLS, to us or to a proxy in front. */
  readonly encrypted: boolean;
  /** The host that the client asked, where a proxy says so; else it is in the Host header. */
  readonly host?: string | undefined;
  readonly certificate?: ClientCertificate | undefined;
}

/** Who made a request, as far as it was proven. */
export interface Actor {
  /** The account's name; `''` is the anonymous account. */
  readonly name: string;
  /** Whether the actor has a right beyond those that the request was let in for. */
  may(action: Action, repository: RepositoryName): Promise<boolean>;
  /** Whether a list of repositories shows this one to the actor. */
  sees(repository: RepositoryName): Promise<boolean>;
  /**
   * Given for who brought nothing and could have: asks for a login. Clients such as oras bring theirs only then, and a
   * list that leaves something out would look complete to them.
   */
  readonly challenge?: (() => RegistryError) | undefined;
}

/** What has to be known of repositories' names to judge rights. */
export interface Names {
  /** The one name of a repository that has several: rights are those of that one. */
  readonly canonical: (name: RepositoryName) => RepositoryName;
  /**
   * Whether what is read by the name may be another registry's. Clients send such names the login that they have there
   * (moby#30880), which we cannot know.
   */
  readonly isMirrored: (name: RepositoryName) => boolean;
}

/** Each repository has one name, and all are our own. */
export const PLAIN_NAMES: Names = { canonical: (name) => name, isMirrored: () => false };

export interface Access {
  /**
   * Identifies who makes a request and checks that all of the scopes are granted. Without scopes it is enough to
   * be known: a client asks so whether its login is good.
   * @throws RegistryError `UNAUTHORIZED` (with the challenge in its headers), `DENIED` or `TOOMANYREQUESTS`
   */
  authorize(request: Request, requester: Requester, scopes: readonly Scope[]): Promise<Actor>;
  /** Where the registry gives out tokens itself. */
  readonly tokens?: TokenEndpoint | undefined;
}

/** The token service, by HTTP. Neither of the two rejects. */
export interface TokenEndpoint {
  /** GET and POST of `/v2/token`: the Docker token protocol (distribution, docs/spec/auth). */
  answer(request: Request, requester: Requester): Promise<Response>;
  /** The public keys that its tokens can be verified with, as a JWK set. */
  keys(): Response;
}

const anyone: Actor = {
  name: '',
  may: () => Promise.resolve(true),
  sees: () => Promise.resolve(true),
};

/** Everybody may do everything: a registry without `auth`. */
export const openAccess: Access = {
  authorize: () => Promise.resolve(anyone),
};
