/**
 * Locks that hold among all processes that share the storage. A lock is an object that names its owner (owner.ts),
 * so that one that a crash left behind is known at once for what it is.
 */
import { isFull, ObjectExists } from '../drivers/driver.ts';
import { RegistryError } from '../oci/errors.ts';
import type { Objects } from './objects.ts';
import { endOwner, isAlive, newOwner } from './owner.ts';

/** How long a request waits for a lock, in milliseconds. What is done under one takes a few. */
const WAIT = 30_000;
/** Waits between two looks at a lock, in milliseconds: at random in between, so that none is always late. */
const LOOK_AFTER = { least: 2, most: 15 };
/** A lock of another machine that is this old (milliseconds) was left by a process that died. */
const STALE = 20_000;

/**
 * Runs `work` while nobody else runs work under any of the keys. Locks are taken in the order of their names, so
 * that two that want the same ones cannot wait for each other.
 * @throws RegistryError 429 when a lock cannot be had in time
 */
export async function withLocks<T>(
  objects: Objects,
  keys: readonly string[],
  work: () => Promise<T>,
): Promise<T> {
  const owner = newOwner();
  const taken: string[] = [];
  let done = false;
  try {
    for (const key of [...new Set(keys)].sort()) {
      await take(objects, key, Buffer.from(owner, 'latin1'));
      taken.push(key);
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

async function take(objects: Objects, key: string, owner: Uint8Array): Promise<void> {
  for (const until = Date.now() + WAIT; ;) {
    try {
      await objects.driver.write(key, owner, { ifAbsent: true, volatile: true });
      return;
    } catch (error) {
      if (!(error instanceof ObjectExists)) throw error;
    }
    if (await isLeftBehind(objects, key)) await breakLock(objects, key);
    else if (Date.now() > until) {
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
  const held = await objects.info(key);
  if (held === undefined) return false;
  const owner = Buffer.from((await objects.bytes(key)) ?? []).toString('latin1');
  return !isAlive(owner, held.modified, STALE) && (await objects.exists(key));
}

/** Removes a lock whose owner is dead. Of several that see it so, one does: the next one's lock must not go too. */
async function breakLock(objects: Objects, key: string): Promise<void> {
  const guard = `${key}~`; // no tag has this character
  try {
    await objects.driver.write(guard, new Uint8Array(), { ifAbsent: true, volatile: true });
  } catch (error) {
    if (!(error instanceof ObjectExists)) throw error;
    const made = (await objects.info(guard))?.modified ?? Date.now();
    if (Date.now() - made > STALE) await objects.driver.delete([guard], { volatile: true });
    await new Promise((resolve) => setTimeout(resolve, LOOK_AFTER.most));
    return;
  }
  if (await isLeftBehind(objects, key)) await objects.driver.delete([key], { volatile: true });
  await objects.driver.delete([guard], { volatile: true });
}

/** How often a lease is renewed, in milliseconds, so that other machines see that its owner lives. */
const RENEW = 5_000;

/**
 * Runs `work` if nobody else, in any process or on any machine, is at work under the key; `work` is told by the signal when
 * the lease was lost, as after a long sleep of the machine.
 * @returns undefined, without waiting, when somebody is
 */
export async function withLease<T>(
  objects: Objects,
  key: string,
  work: (lost: AbortSignal) => Promise<T>,
): Promise<{ readonly result: T } | undefined> {
  const owner = newOwner();
  const bytes = Buffer.from(owner, 'latin1');
  let isTaken: boolean;
  try {
    isTaken = await tryTake(objects, key, bytes);
  } catch (error) {
    endOwner(owner);
    // What frees space has to work where there is none; a lease is for economy, and two at once do no harm.
    if (isFull(error)) return { result: await work(new AbortController().signal) };
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

/** Takes a lock if it is free, or was left behind. One that is held for long is to be touched every few seconds. */
export async function tryTake(objects: Objects, key: string, owner: Uint8Array): Promise<boolean> {
  for (let attempt = 0; attempt < 3; attempt += 1) {
    try {
      await objects.driver.write(key, owner, { ifAbsent: true, volatile: true });
      return true;
    } catch (error) {
      if (!(error instanceof ObjectExists)) throw error;
    }
    if (!(await isLeftBehind(objects, key))) return false;
    await breakLock(objects, key);
  }
  return false;
}
