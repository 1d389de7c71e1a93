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
    const message = `the quota of ${account} is used up: ${formatBytes(used)} of ${formatBytes(limit)} are in use${more}; delete images that nobody needs, or ask for a larger quota`;
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

  async release(key: string): Promise<void> {
    await this.#tell(() => this.#tools.ledger.release(this.#quotas, key));
  }

  async unlinked(digest: Digest): Promise<void> {
    await this.#tell(() => this.#tools.ledger.unlinked(this.#quotas, digest));
  }

  storedSize(digest: Digest): Promise<number | undefined> {
    return this.#tools.ledger.storedSize(digest);
  }

  async #tell(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#tools.log.warn('a quota could not be brought up to date; the next counting does it', {
        repository: this.#name,
        error: String(error),
      });
    }
  }
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];

/** A size as people read it, in the units of 1000 that clients show. */
function formatBytes(bytes: number): string {
  const power = bytes < 1000 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log10(bytes) / 3));
  const amount = (bytes / 1000 ** power).toFixed(power === 0 ? 0 : 1);
  return `${amount.replace(/\.0$/, '')} ${UNITS[power] ?? ''}`;
}
