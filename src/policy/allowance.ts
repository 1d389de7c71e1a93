/** What one repository may still use of its quotas, and the answer where it may not. */
import type { Logger } from '../log.ts';
import type { Digest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import type { RepositoryName } from '../oci/name.ts';
import type { Claim, Grant, Quota, Shortage, UsageLedger } from '../oci/quota.ts';

/** What the allowances of a process share. */
export interface AllowanceTools {
  readonly ledger: UsageLedger;
  /** Has accounts counted that never were; returns when they are, or when that takes too long to wait for. */
  readonly count: (quotas: readonly Quota[]) => Promise<void>;
  /** Has accounts counted anew soon; returns at once. */
  readonly recount: (quotas: readonly Quota[]) => void;
  readonly log: Logger;
}

export class Allowance {
  readonly #tools: AllowanceTools;
  readonly #name: RepositoryName;
  readonly #quotas: readonly Quota[];

  /** @param quotas at least one */
  constructor(tools: AllowanceTools, name: RepositoryName, quotas: readonly Quota[]) {
    this.#tools = tools;
    this.#name = name;
    this.#quotas = quotas;
  }

  /**
   * Sets room aside. @returns how many bytes there is room for in all
   * @throws RegistryError `DENIED` when there is too little: 413 for bytes, 403 for repositories
   */
  async take(claim: Omit<Claim, 'repository'>): Promise<number> {
    const whole = { ...claim, repository: this.#name };
    return this.#granted(claim.bytes, () => this.#tools.ledger.reserve(this.#quotas, whole));
  }

  /** Whether there is any room, without setting some aside. @throws as `take` */
  async look(): Promise<void> {
    await this.#granted(0, () => this.#tools.ledger.look(this.#quotas, this.#name));
  }

  async #granted(needed: number, ask: () => Promise<Grant>): Promise<number> {
    let grant = await ask();
    if (grant.uncounted.length > 0) {
      await this.#tools.count(grant.uncounted);
      grant = await ask();
    }
    if (grant.shortage === undefined) return grant.bytes;
    throw this.#refusal(grant.shortage, needed);
  }

  #refusal({ quota, of, limit, used }: Shortage, needed: number): RegistryError {
    const { account } = quota;
    this.#tools.log.warn('a push was refused: the quota is used up', {
      repository: this.#name,
      quota: account,
      of,
      limit,
      used,
      ...(of === 'bytes' ? { needed } : {}),
    });
    const detail = { quota: account, limit, used };
    if (of === 'repositories') {
      const message = `the quota of ${account} allows ${limit} repositories, and there are ${used}: push to one of them, or delete one`;
      return new RegistryError('DENIED', message, { detail });
    }
    const more = needed === 0 ? '' : `, and this needs at least ${formatBytes(needed)}`;
    const message = `the quota of ${account} is used up: ${formatBytes(used)} of ${formatBytes(limit)} are in use${more}; delete images that nobody needs (their layers count until they are collected), or ask for a larger quota`;
    return new RegistryError('DENIED', message, { status: 413, detail: { ...detail, needed } });
  }

  /** Counts what is stored. A failure is no reason to fail what is done: the next counting finds it. */
  async settle(stored: {
    readonly key: string;
    readonly digest: Digest;
    readonly size: number;
    readonly isManifest?: boolean;
  }): Promise<void> {
    await this.#tell(() => this.#tools.ledger.settle(this.#quotas, { ...stored, repository: this.#name }));
  }

  /** Frees what was set aside under these names. */
  async release(keys: readonly string[]): Promise<void> {
    await this.#tell(() => this.#tools.ledger.release(this.#quotas, keys));
  }

  /** Lowers what counts, after the repository's links to these have gone or may have. */
  async unlinked(digests: readonly Digest[]): Promise<void> {
    const { ledger, recount } = this.#tools;
    try {
      const unknown = await ledger.unlinked(this.#quotas, this.#name, digests);
      if (unknown.length > 0) recount(unknown);
    } catch (error) {
      this.#warn(error);
      recount(this.#quotas);
    }
  }

  /** Makes the count right after a push has failed: the link may be there all the same, or have been seen by a count and be gone. */
  async unsure(pushed: {
    readonly key: string;
    readonly digest: Digest;
    readonly isManifest?: boolean;
  }): Promise<void> {
    const size = await this.storedSize(pushed.digest).catch(() => undefined);
    if (size !== undefined) await this.settle({ ...pushed, size });
    await this.unlinked([pushed.digest]);
  }

  storedSize(digest: Digest): Promise<number | undefined> {
    return this.#tools.ledger.storedSize(digest);
  }

  async #tell(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#warn(error);
    }
  }

  #warn(error: unknown): void {
    this.#tools.log.warn('a quota could not be brought up to date; the next counting does it', {
      repository: this.#name,
      error: String(error),
    });
  }
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];

/** A size as people read it, in the units of 1000 that clients show. */
function formatBytes(bytes: number): string {
  const power = bytes < 1000 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log10(bytes) / 3));
  const amount = (bytes / 1000 ** power).toFixed(power === 0 ? 0 : 1);
  return `${amount.replace(/\.0$/, '')} ${UNITS[power] ?? ''}`;
}
