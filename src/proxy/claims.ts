/** Who does what is to be done once among all processes: a small object that names the one that made it. */
import { randomBytes } from 'node:crypto';
import { ObjectExists } from '../drivers/driver.ts';
import { isRunning, PROCESS } from '../process-identity.ts';
import { isSilent } from '../silence.ts';
import { readState, type StateStorage, writeState } from './cache-state.ts';

/** A claim of another machine that has not been renewed for so long (milliseconds) is nobody's. */
const SILENT_FOR = 60_000;
/** How often it is renewed, in milliseconds. */
const RENEW_EVERY = 15_000;

/** What the object holds beside the owner: whatever others need to know. */
export type ClaimNote = Readonly<Record<string, string | number>>;

const own = new Set<string>();

/** A right that this process has until it lets go of it. */
export class CacheClaim {
  readonly #storage: StateStorage;
  readonly #key: string;
  readonly #owner = `${PROCESS}-${randomBytes(8).toString('hex')}`;
  readonly #timer: NodeJS.Timeout;
  #note: ClaimNote = {};

  /** What the one told that had it before and died. */
  readonly replaced: ClaimNote | undefined;

  private constructor(storage: StateStorage, key: string, replaced: ClaimNote | undefined) {
    this.replaced = replaced;
    this.#storage = storage;
    this.#key = key;
    own.add(this.#owner);
    this.#timer = setInterval(() => void this.tell(this.#note).catch(() => undefined), RENEW_EVERY);
    this.#timer.unref();
  }

  /** Takes the claim if nobody who lives has it; undefined when somebody does. */
  static async take(storage: StateStorage, key: string): Promise<CacheClaim | undefined> {
    let replaced: ClaimNote | undefined;
    for (let attempt = 0; attempt < 3; attempt += 1) {
      const claim = new CacheClaim(storage, key, replaced);
      try {
        const bytes = Buffer.from(JSON.stringify({ owner: claim.#owner }));
        await storage.driver.write(key, bytes, { ifAbsent: true, volatile: true });
        return claim;
      } catch (error) {
        claim.#end();
        if (!(error instanceof ObjectExists)) throw error;
      }
      if ((await look(storage, key)) !== undefined) return undefined;
      replaced = (await readState(storage, key)) as ClaimNote | undefined;
      // Of two that find it dead at the same moment both may go on. What is done under it twice is merely done twice.
      await storage.driver.delete([key], { volatile: true });
    }
    return undefined;
  }

  /** Tells others what they need to know. */
  async tell(note: ClaimNote): Promise<void> {
    this.#note = note;
    await writeState(this.#storage, this.#key, { ...note, owner: this.#owner });
  }

  async release(): Promise<void> {
    this.#end();
    await this.#storage.driver.delete([this.#key], { volatile: true }).catch(() => undefined);
  }

  #end(): void {
    clearInterval(this.#timer);
    own.delete(this.#owner);
  }
}

/** What the holder of a claim tells; undefined when nobody who lives has it. */
export async function look(storage: StateStorage, key: string): Promise<ClaimNote | undefined> {
  const note = (await readState(storage, key)) as (ClaimNote & { owner?: unknown }) | undefined;
  if (note === undefined) {
    // One that is being written at this moment, or that a crash left without its content.
    const info = await storage.info(key);
    return info === undefined || isSilent(key, info.modified, SILENT_FOR) ? undefined : {};
  }
  const { owner } = note;
  if (typeof owner !== 'string') return undefined;
  if (owner.startsWith(`${PROCESS}-`)) return own.has(owner) ? note : undefined;
  const runs = isRunning(owner);
  if (runs !== undefined) return runs ? note : undefined;
  const info = await storage.info(key);
  return info === undefined || isSilent(key, info.modified, SILENT_FOR) ? undefined : note;
}
