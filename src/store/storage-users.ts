/**
 * Who uses the storage: servers of any node, and jobs that a command runs. A job that nobody else would be disturbed by
 * may have the storage to itself, and then waits for no one.
 *
 *     uses:   1. writes users/<owner>     2. looks for `alone`: while somebody holds it, waits
 *     alone:  1. takes `alone`            2. looks for users: is there any, it lets go, and is a user
 *
 * Whichever comes second sees the first. Both names are rewritten while they are held, so that those of the dead are
 * known on other nodes too (owner.ts).
 */
import { hostname } from 'node:os';
import { isFull, ObjectNotFound } from '../drivers/driver.ts';
import { ALONE_KEY, USERS } from './layout.ts';
import { holderOf, tryTake } from './locks.ts';
import type { Objects } from './objects.ts';
import { endOwner, type Life, lifeOf, newOwner } from './owner.ts';

/** How often a name is rewritten, in milliseconds; a lock of another node counts as left behind after 20 s, of another machine after 80. */
const REWRITE_EVERY = 5_000;
/** How often it is looked whether somebody has come, or gone. */
const LOOK_EVERY = 500;
/** Names of other nodes that are older (milliseconds) are not known to live (owner.ts). */
const SILENT_FOR = 30_000;

/** Milliseconds: a job gives way within a second or so, and one of another node that has died counts as dead by then. */
const WAIT = 120_000;

/** Somebody who uses the storage. */
export interface StorageUser {
  readonly owner: string;
  /** `server`, or the job. */
  readonly what: string;
  readonly host: string;
  readonly pid: number;
}

/** The storage is used, until `end`. */
export interface StorageUse {
  /** Whether nobody else uses it. */
  readonly isAlone: boolean;
  /** Aborts when somebody else begins to use a storage that was had alone, or the right to it is lost. */
  readonly disturbed: AbortSignal;
  end(): Promise<void>;
}

/** A job has the storage to itself. The message is for the operator. */
export class StorageTaken extends Error {
  override readonly name = 'StorageTaken';
}

/**
 * Begins to use the storage beside others; waits while a job has it to itself, two minutes unless told.
 * @throws StorageTaken after `withinMs`
 */
export async function useStorage(
  objects: Objects,
  what: string,
  { withinMs = WAIT, onWait }: { readonly withinMs?: number; readonly onWait: (holder: string) => void },
): Promise<StorageUse> {
  const use = new Use(objects, what);
  try {
    await use.enter();
    const until = Date.now() + withinMs;
    for (let told = ''; ; await pause(LOOK_EVERY)) {
      const holder = await holderOf(objects, ALONE_KEY);
      if (holder === undefined) return use;
      const name = await describe(objects, holder);
      if (Date.now() >= until)
        throw new StorageTaken(`${name} has the storage to itself: end it, or wait for its end`);
      if (name !== told) onWait(name);
      told = name;
    }
  } catch (error) {
    await use.end();
    throw error;
  }
}

/**
 * Uses the storage alone if nobody else does, else beside them.
 * @throws StorageTaken when a job has it to itself already
 */
export async function useStorageAlone(objects: Objects, what: string): Promise<StorageUse> {
  const alone = new Use(objects, what, true);
  try {
    if (await alone.takeAlone()) return alone;
  } catch (error) {
    await alone.end();
    throw error;
  }
  await alone.end();
  return useStorage(objects, what, { withinMs: 0, onWait: () => undefined });
}

/**
 * The use of a storage that may only be read, of which nobody can be told. In a mount that is read-only nobody else writes
 * either; in another user's folder somebody may, so that it is never had alone.
 */
export function useUntold(): StorageUse {
  return { isAlone: false, disturbed: new AbortController().signal, end: () => Promise.resolve() };
}

/** Those who use the storage, and live. */
export async function storageUsers(objects: Objects): Promise<readonly StorageUser[]> {
  return (await namedUsers(objects)).map(({ user }) => user);
}

interface NamedUser {
  readonly user: StorageUser;
  /** Whether it lives for certain; and when it last wrote its name. */
  readonly life: Life;
  readonly modified: number;
}

async function namedUsers(objects: Objects): Promise<readonly NamedUser[]> {
  const users: NamedUser[] = [];
  for await (const { key, modified } of objects.driver.list(USERS)) {
    const owner = key.slice(USERS.length);
    const life = lifeOf(owner, modified, SILENT_FOR);
    const bytes = life === 'dead' ? undefined : await objects.bytes(key);
    if (bytes !== undefined) users.push({ user: { owner, ...described(bytes) }, life, modified });
    else await objects.driver.delete([key], { volatile: true });
  }
  return users;
}

class Use implements StorageUse {
  readonly isAlone: boolean;
  readonly #disturbed = new AbortController();
  readonly #objects: Objects;
  readonly #what: string;
  readonly #owner = newOwner();
  #timer: NodeJS.Timeout | undefined;
  #wroteAt = 0;
  #looking: Promise<void> | undefined;

  constructor(objects: Objects, what: string, isAlone = false) {
    this.#objects = objects;
    this.#what = what;
    this.isAlone = isAlone;
  }

  get disturbed(): AbortSignal {
    return this.#disturbed.signal;
  }

  get #text(): Uint8Array {
    return Buffer.from(JSON.stringify({ what: this.#what, host: hostname(), pid: process.pid }));
  }

  async enter(): Promise<void> {
    try {
      await this.#write();
    } catch (error) {
      // A registry has to start on a full disk, to be emptied; its name is written as soon as there is room.
      if (!isFull(error)) throw error;
    }
    this.#watch();
  }

  async takeAlone(): Promise<boolean> {
    if (!(await tryTake(this.#objects, ALONE_KEY, Buffer.from(this.#owner, 'latin1')))) {
      const holder = await holderOf(this.#objects, ALONE_KEY);
      const name = holder === undefined ? 'another command' : await describe(this.#objects, holder);
      throw new StorageTaken(`${name} has the storage to itself: end it, or wait for its end`);
    }
    this.#wroteAt = Date.now();
    if (await this.#isAnybodyThere()) return false;
    this.#watch();
    return true;
  }

  /** Waits where a name's time lies in the future, for as long as it takes to know whether its owner lives (owner.ts). */
  async #isAnybodyThere(): Promise<boolean> {
    const before = new Map<string, number>();
    for (; ; await pause(LOOK_EVERY)) {
      const users = await namedUsers(this.#objects);
      if (users.length === 0) return false;
      for (const { user, life, modified } of users) {
        if (life === 'alive' || (before.get(user.owner) ?? modified) !== modified) return true;
        before.set(user.owner, modified);
      }
      if (Date.now() - this.#wroteAt >= REWRITE_EVERY) await this.#write();
    }
  }

  async end(): Promise<void> {
    clearInterval(this.#timer);
    // Else it might write the name once more.
    await this.#looking;
    const key = this.isAlone ? ALONE_KEY : USERS + this.#owner;
    if (!this.isAlone || (await this.#holds())) {
      await this.#objects.driver.delete([key], { volatile: true }).catch(() => undefined);
    }
    endOwner(this.#owner);
  }

  async #holds(): Promise<boolean> {
    const bytes = await this.#objects.bytes(ALONE_KEY).catch(() => undefined);
    return bytes !== undefined && Buffer.from(bytes).toString('latin1') === this.#owner;
  }

  async #write(): Promise<void> {
    // Alone it is there since it was taken; once taken over it must not be made again.
    if (this.isAlone) await this.#objects.touch(ALONE_KEY);
    else if (!(await this.#touched())) {
      await this.#objects.driver.write(USERS + this.#owner, this.#text, { ifAbsent: true, volatile: true });
    }
    this.#wroteAt = Date.now();
  }

  /** @returns false where its name is not there (any more) */
  async #touched(): Promise<boolean> {
    if (this.#wroteAt === 0) return false;
    try {
      await this.#objects.touch(USERS + this.#owner);
      return true;
    } catch (error) {
      if (error instanceof ObjectNotFound) return false;
      throw error;
    }
  }

  #watch(): void {
    this.#timer = setInterval(
      () => {
        this.#looking ??= this.#look()
          // A storage that cannot be reached for a moment; what it keeps from working fails by itself.
          .catch(() => undefined)
          .finally(() => {
            this.#looking = undefined;
          });
      },
      this.isAlone ? LOOK_EVERY : REWRITE_EVERY,
    ).unref();
  }

  async #look(): Promise<void> {
    if (this.isAlone) {
      if (!(await this.#holds())) this.#disturbed.abort(new Error('the right to the storage is lost'));
      const [other] = await storageUsers(this.#objects);
      if (other !== undefined)
        this.#disturbed.abort(new Error(`${nameOf(other)} has come to use the storage`));
    }
    if (this.#disturbed.signal.aborted && this.isAlone) return;
    if (Date.now() - this.#wroteAt >= REWRITE_EVERY - LOOK_EVERY) await this.#write();
  }
}

async function describe(objects: Objects, owner: string): Promise<string> {
  const user = (await storageUsers(objects)).find((one) => one.owner === owner);
  return user === undefined ? `a job (process ${owner.split('-')[1] ?? '?'})` : nameOf(user);
}

function nameOf({ what, host, pid }: StorageUser): string {
  return `${what} (process ${pid} of ${host})`;
}

function described(bytes: Uint8Array): Omit<StorageUser, 'owner'> {
  try {
    const { what, host, pid } = JSON.parse(Buffer.from(bytes).toString('utf8')) as Record<string, unknown>;
    if (typeof what === 'string' && typeof host === 'string' && typeof pid === 'number')
      return { what, host, pid };
  } catch {
    // Half a note of a crash: somebody is there, whoever it is.
  }
  return { what: 'a process', host: 'an unknown host', pid: 0 };
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds);
  });
}
