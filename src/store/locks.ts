/**
 * Locks that hold among all processes that share the storage. A lock is an object that names its owner (owner.ts),
 * so that one that a crash left behind is known at once for what it is.
 */
import { isFull, isUnwritable, ObjectExists } from '../drivers/driver.ts';
import { RegistryError } from '../oci/errors.ts';
import type { Objects } from './objects.ts';
import { endOwner, isAlive, type Life, lifeOf, newOwner } from './owner.ts';

/** How long a request waits for a lock, in milliseconds. What is done under one takes a few. */
const WAIT = 30_000;
/** Waits between two looks at a lock, in milliseconds: at random in between, so that none is always late. */
const LOOK_AFTER = { least: 2, most: 15 };
/** The same, in milliseconds, while it is watched whether a lock's owner lives. */
const LOOK_AFTER_UNSURE = 250;
/** A lock that is this old (milliseconds), and of whose owner it cannot be told, was left by a process that died (owner.ts). */
const STALE = 20_000;

/**
 * Runs `work` while nobody else runs work under any of the keys. Locks are taken in the order of their names, so
 * that two that want the same ones cannot wait for each other.
 *
 * With `frees`, for work that only deletes, a lock for which the storage has no room is done without: what frees space has
 * to work where there is none. A lock that somebody living holds is waited for all the same, so that only two things can
 * race: deletions with each other, and each of them does what both want; and a push that finds room between the last look
 * and the end of the work, some milliseconds in which another deletion has to have made it. Its tag may then go as if it had
 * been pushed just before; its manifest stays.
 * @throws RegistryError 429 when a lock cannot be had in time
 */
export async function withLocks<T>(
  objects: Objects,
  keys: readonly string[],
  work: () => Promise<T>,
  { frees = false }: { readonly frees?: boolean } = {},
): Promise<T> {
  const owner = newOwner();
  const taken: string[] = [];
  let done = false;
  try {
    for (const key of [...new Set(keys)].sort()) {
      if (await take(objects, key, Buffer.from(owner, 'latin1'), frees)) taken.push(key);
    }
    const result = await work();
    done = true;
    return result;
  } finally {
    // After a failure with the folders that were made for them, as there may be nothing else in the repository. What
    // is done is done: a lock that cannot be removed does not undo it.
    await objects.driver.delete(taken, { volatile: done }).catch(() => undefined);
    endOwner(owner);
  }
}

/** The owner of a lock that somebody living holds; undefined when it is free. */
export async function holderOf(objects: Objects, key: string): Promise<string | undefined> {
  const held = await objects.info(key);
  if (held === undefined) return undefined;
  const owner = Buffer.from((await objects.bytes(key)) ?? []).toString('latin1');
  return isAlive(owner, held.modified, STALE) && (await objects.exists(key)) ? owner : undefined;
}

/** @returns false where there is no room for the lock, nobody living holds it, and that is to be put up with */
async function take(objects: Objects, key: string, owner: Uint8Array, frees: boolean): Promise<boolean> {
  for (const until = Date.now() + WAIT; ;) {
    try {
      await objects.driver.write(key, owner, { ifAbsent: true, volatile: true });
      return true;
    } catch (error) {
      // A storage may say that it is full before it looks whether there is a lock.
      if (frees && isFull(error)) {
        const holder = await holderOf(objects, key);
        if (holder === undefined) return false;
        if (holder === Buffer.from(owner).toString('latin1')) return true; // written all the same
      } else if (!(error instanceof ObjectExists)) throw error;
    }
    if (await isLeftBehind(objects, key)) {
      try {
        await breakLock(objects, key);
      } catch (error) {
        if (frees && isFull(error)) return false;
        throw error;
      }
    } else if (Date.now() > until) {
      throw new RegistryError('TOOMANYREQUESTS', 'too many requests are changing this at the same moment', {
        headers: { 'Retry-After': '5' },
      });
    } else {
      const { least, most } = LOOK_AFTER;
      const pause = least + Math.random() * (most - least);
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
}

async function isLeftBehind(objects: Objects, key: string): Promise<boolean> {
  return (await stateOf(objects, key))?.life === 'dead';
}

/** What is known of a lock; undefined when there is none (any more). */
async function stateOf(
  objects: Objects,
  key: string,
): Promise<{ readonly life: Life; readonly modified: number } | undefined> {
  const held = await objects.info(key);
  if (held === undefined) return undefined;
  const owner = Buffer.from((await objects.bytes(key)) ?? []).toString('latin1');
  const life = lifeOf(owner, held.modified, STALE);
  // Gone between the two looks, it has named no owner.
  return life !== 'dead' || (await objects.exists(key)) ? { life, modified: held.modified } : undefined;
}

/** Removes the locks below a prefix that processes have left that died. */
export async function removeDeadLocks(objects: Objects, prefix: string): Promise<void> {
  for await (const { key } of objects.driver.list(prefix)) {
    if (await isLeftBehind(objects, key)) await breakLock(objects, key);
  }
}

/**
 * Removes a lock whose owner is dead. Of several that see it so, one does, under a lock of its own: the next one's lock must
 * not go too. Who dies in this very place leaves that one, which is broken likewise.
 */
async function breakLock(objects: Objects, key: string): Promise<void> {
  const guard = `${key}~`; // no tag has this character
  const owner = newOwner();
  try {
    // What frees space has to work where there is none: one that names nobody needs no room. It is dead when it is old.
    const isTaken = await tryTake(objects, guard, Buffer.from(owner, 'latin1')).catch((error: unknown) => {
      if (isFull(error)) return tryTake(objects, guard, new Uint8Array());
      throw error;
    });
    if (!isTaken) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_AFTER.most));
      return;
    }
    if (await isLeftBehind(objects, key)) await objects.driver.delete([key], { volatile: true });
    await objects.driver.delete([guard], { volatile: true });
  } finally {
    endOwner(owner);
  }
}

/** How often a lease is renewed, in milliseconds, so that other machines see that its owner lives. */
const RENEW = 5_000;

/**
 * Runs `work` if nobody else, in any process or on any machine, is at work under the key; `work` is told by the signal when
 * the lease was lost, as after a long sleep of the machine. Work that `onlyReads` goes without a lease in a storage that may
 * only be read: a mount that is read-only, where nobody else writes either, or another user's folder, where it has to put up
 * with others.
 * @returns undefined, without waiting, when somebody is
 */
export async function withLease<T>(
  objects: Objects,
  key: string,
  work: (lost: AbortSignal) => Promise<T>,
  { onlyReads = false }: { readonly onlyReads?: boolean } = {},
): Promise<{ readonly result: T } | undefined> {
  const owner = newOwner();
  const bytes = Buffer.from(owner, 'latin1');
  let isTaken: boolean;
  try {
    isTaken = await tryTake(objects, key, bytes);
  } catch (error) {
    endOwner(owner);
    // What frees space has to work where there is none; a lease is for economy, and two at once do no harm.
    if (isFull(error) || (onlyReads && isUnwritable(error)))
      return { result: await work(new AbortController().signal) };
    throw error;
  }
  if (!isTaken) {
    endOwner(owner);
    return undefined;
  }
  const lost = new AbortController();
  const renew = async (): Promise<void> => {
    if (Buffer.from((await objects.bytes(key)) ?? []).equals(bytes)) await objects.touch(key);
    else lost.abort(new Error('another process has taken over'));
  };
  const timer = setInterval(() => void renew().catch(() => undefined), RENEW);
  timer.unref();
  try {
    return { result: await work(lost.signal) };
  } finally {
    clearInterval(timer);
    if (!lost.signal.aborted) await objects.driver.delete([key]).catch(() => undefined);
    endOwner(owner);
  }
}

/**
 * Takes a lock if it is free, or was left behind. One that is held for long is to be touched every few seconds. Waits only
 * where a lock's time lies in the future, for as long as it takes to know whether its owner lives: a command asks but once.
 */
export async function tryTake(objects: Objects, key: string, owner: Uint8Array): Promise<boolean> {
  for (let attempt = 0; attempt < 3; attempt += 1) {
    try {
      await objects.driver.write(key, owner, { ifAbsent: true, volatile: true });
      return true;
    } catch (error) {
      if (!(error instanceof ObjectExists)) throw error;
    }
    let state = await stateOf(objects, key);
    const { modified } = state ?? {};
    while (state?.life === 'unsure' && state.modified === modified) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_AFTER_UNSURE));
      state = await stateOf(objects, key);
    }
    if (state?.life !== 'dead') return false;
    await breakLock(objects, key);
  }
  return false;
}
