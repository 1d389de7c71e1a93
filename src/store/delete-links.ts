/**
 * Deletes links while others push, collect and delete the same.
 *
 *     deletion:  1. nothing needs it    2. moves it to the trash    3. looks again: brings it back, or
 *                4. takes it from there for itself    5. looks again: brings it back, or deletes it
 *
 * After 3 a push that needs the link has found it in the trash, and brought it back, or will not find it. But what lies in the
 * trash at 4 may be there by another deletion, or by the collector, since: whose own look came before that push. So it is
 * moved to a name that nobody else knows, and looked at once more. And who needs it at 3 and does not find it in the trash
 * writes it anew, as the collector may have deleted it.
 *
 * A link is never copied: what is written anew and not yet synced would be empty after a power cut, also where it was brought
 * back and somebody was told that it stays.
 */
import { isFull, ObjectNotFound } from '../drivers/driver.ts';
import type { Digest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import type { RepositoryName } from '../oci/name.ts';
import { type LinkKind, linkKey, takenLinkKey, trashedLinkKey } from './layout.ts';
import { bringBackLink } from './links.ts';
import type { Objects } from './objects.ts';
import { endOwner, newOwner } from './owner.ts';
import { type RepositoryLink, trashedLinks } from './repository-links.ts';

/** Rounds in which a link may come back, because somebody asks for it, before its deletion is given up. */
const MAX_ROUNDS = 20;
/** Links that are set aside or deleted between two pauses for other work; their deletions are made durable together. */
const AT_ONCE = 100;

/** Deletes a link, also one that lies in the trash. Visible at once to everybody. */
export async function deleteLink(
  objects: Objects,
  name: RepositoryName,
  kind: LinkKind,
  digest: Digest,
): Promise<void> {
  await objects.driver.delete([trashedLinkKey(name, kind, digest), linkKey(name, kind, digest)]);
}

/** Which of some links must stay, each with the error that says why. Those that were given are asked about all together. */
export type Needs = (digests: readonly Digest[]) => Promise<ReadonlyMap<Digest, unknown>>;

/**
 * Deletes links that nothing needs, while others push. `needs` is asked before any link goes, and again while they are where
 * who needs them brings them back from. Where it fails, all stay.
 * @returns why links stayed, by their digests
 * @throws RegistryError 429 when a link is brought back each time
 */
export async function deleteLinksUnless(
  objects: Objects,
  name: RepositoryName,
  kind: LinkKind,
  digests: readonly Digest[],
  needs: Needs,
): Promise<ReadonlyMap<Digest, unknown>> {
  const owner = newOwner();
  try {
    return await new LinkDeletion(objects, name, kind, needs, owner).run(digests);
  } finally {
    endOwner(owner);
  }
}

class LinkDeletion {
  readonly #objects: Objects;
  readonly #name: RepositoryName;
  readonly #kind: LinkKind;
  readonly #needs: Needs;
  readonly #owner: string;
  readonly #stayed = new Map<Digest, unknown>();

  constructor(objects: Objects, name: RepositoryName, kind: LinkKind, needs: Needs, owner: string) {
    this.#objects = objects;
    this.#name = name;
    this.#kind = kind;
    this.#needs = needs;
    this.#owner = owner;
  }

  async run(digests: readonly Digest[]): Promise<ReadonlyMap<Digest, unknown>> {
    let left = digests;
    for (let round = 0; left.length > 0; round += 1) {
      if (round === MAX_ROUNDS) {
        throw new RegistryError('TOOMANYREQUESTS', 'too many requests ask for this at the same moment', {
          headers: { 'Retry-After': '1' },
        });
      }
      const going = await this.#ask(left);
      const targets = await this.#setAside(going);
      const unneeded = await this.#ask(going);
      // Parents first, as they were given.
      for (const digest of going)
        if (this.#stayed.has(digest)) await this.#putBack(digest, targets.get(digest));
      await this.#deleteTaken(await this.#take(unneeded));
      const back: Digest[] = [];
      for (const digest of unneeded) if (await this.#isLive(digest)) back.push(digest);
      left = back;
    }
    return this.#stayed;
  }

  /** @returns those that nothing needs */
  async #ask(asked: readonly Digest[]): Promise<Digest[]> {
    if (asked.length === 0) return [];
    let needed: ReadonlyMap<Digest, unknown>;
    try {
      needed = await this.#needs(asked);
    } catch (error) {
      needed = new Map(asked.map((digest) => [digest, error]));
    }
    for (const [digest, error] of needed) this.#stayed.set(digest, error);
    return asked.filter((digest) => !needed.has(digest));
  }

  /** @returns what the links named that were there */
  async #setAside(digests: readonly Digest[]): Promise<ReadonlyMap<Digest, Digest>> {
    const targets = new Map<Digest, Digest>();
    for (const some of slices(digests)) {
      const present: Digest[] = [];
      for (const digest of some) {
        const target = await this.#objects.link(linkKey(this.#name, this.#kind, digest));
        if (target === undefined) continue;
        targets.set(digest, target);
        present.push(digest);
      }
      // The folders that they leave and come to are the same: the last one's sync is that of all.
      const last = present.at(-1);
      for (const digest of present) await this.#moveToTrash(digest, digest !== last);
      await pause();
    }
    return targets;
  }

  async #moveToTrash(digest: Digest, volatile: boolean): Promise<void> {
    const key = linkKey(this.#name, this.#kind, digest);
    try {
      await this.#objects.move(key, trashedLinkKey(this.#name, this.#kind, digest), { volatile });
    } catch (error) {
      // On a full disk nobody pushes what may need it, and what frees space has to work.
      if (isFull(error)) await this.#objects.driver.delete([key], { small: true });
      else if (!(error instanceof ObjectNotFound)) throw error;
    }
  }

  async #putBack(digest: Digest, target: Digest | undefined): Promise<void> {
    if (await bringBackLink(this.#objects, this.#name, this.#kind, digest)) return;
    if (target === undefined || (await this.#isLive(digest))) return;
    if (this.#kind === 'layers')
      return this.#objects.writeLink(linkKey(this.#name, this.#kind, digest), target);
    // It comes with what it refers to, or is left to the collector.
    const trashed = trashedLinkKey(this.#name, this.#kind, digest);
    await this.#objects.writeLink(trashed, target);
    await bringBackLink(this.#objects, this.#name, this.#kind, digest);
  }

  /** @returns those that are ours alone now */
  async #take(digests: readonly Digest[]): Promise<readonly Digest[]> {
    const taken: Digest[] = [];
    for (const some of slices(digests)) {
      for (const digest of some) {
        const from = trashedLinkKey(this.#name, this.#kind, digest);
        try {
          await this.#objects.move(from, this.#takenKey(digest), { volatile: true });
          taken.push(digest);
        } catch (error) {
          // Without room for another name it goes from where it is: nobody pushes what may need it.
          if (isFull(error)) await this.#objects.driver.delete([from], { small: true });
          else if (!(error instanceof ObjectNotFound)) throw error;
        }
      }
      await pause();
    }
    return taken;
  }

  async #deleteTaken(taken: readonly Digest[]): Promise<void> {
    const unneeded = new Set(await this.#ask(taken));
    for (const digest of taken) {
      if (unneeded.has(digest)) continue;
      const trashed = trashedLinkKey(this.#name, this.#kind, digest);
      await this.#objects.move(this.#takenKey(digest), trashed, { volatile: true });
      await bringBackLink(this.#objects, this.#name, this.#kind, digest);
    }
    for (const some of slices([...unneeded])) {
      const keys = some.map((digest) => this.#takenKey(digest));
      await this.#objects.driver.delete(keys, { small: true });
      await pause();
    }
  }

  #takenKey(digest: Digest): string {
    return takenLinkKey(this.#name, this.#kind, digest, this.#owner);
  }

  #isLive(digest: Digest): Promise<boolean> {
    return this.#objects.exists(linkKey(this.#name, this.#kind, digest));
  }
}

/**
 * Puts back into the trash what deletions had taken that died, of these digests or of all: for who deletes it now.
 * @returns whether there was anything
 */
export async function returnTaken(
  objects: Objects,
  name: RepositoryName,
  kind: LinkKind,
  digests?: { has(digest: Digest): boolean },
): Promise<boolean> {
  let isAny = false;
  for await (const link of trashedLinks(objects, name, kind, true)) {
    if (link.taken !== 'dead' || digests?.has(link.digest) === false) continue;
    isAny = (await returnLink(objects, name, kind, link)) || isAny;
  }
  return isAny;
}

/** Puts one link that a dead deletion had taken back into the trash. @returns whether it was there */
export async function returnLink(
  objects: Objects,
  name: RepositoryName,
  kind: LinkKind,
  { key, digest }: RepositoryLink,
): Promise<boolean> {
  try {
    await objects.move(key, trashedLinkKey(name, kind, digest), { volatile: true });
    return true;
  } catch (error) {
    if (error instanceof ObjectNotFound) return false;
    throw error;
  }
}

function* slices(digests: readonly Digest[]): Generator<readonly Digest[]> {
  for (let start = 0; start < digests.length; start += AT_ONCE) yield digests.slice(start, start + AT_ONCE);
}

/** A storage on a disk answers at once: nobody else would come to do anything. */
function pause(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
