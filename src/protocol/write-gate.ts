import { RegistryError } from '../oci/errors.ts';

/**
 * Whether the registry may be changed. It can be closed while requests are under way: those that got in go on, and it
 * tells when the last of them has ended, or ends them.
 */
export class WriteGate {
  #reason: string | undefined;
  #underWay = 0;
  readonly #cuts = new Set<(error: RegistryError) => void>();
  readonly #idle = new Set<() => void>();

  /** Whether changes are refused. */
  get isClosed(): boolean {
    return this.#reason !== undefined;
  }

  /** Refuses all changes from now on. The reason is told to clients; it may be empty. */
  close(reason = ''): void {
    this.#reason = reason;
  }

  open(): void {
    this.#reason = undefined;
  }

  /** @throws RegistryError `UNSUPPORTED` while it is closed */
  check(): void {
    if (this.#reason !== undefined) throw refusal(this.#reason);
  }

  /** Handles a request that may change something: until it has ended it counts as under way. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    this.#underWay += 1;
    try {
      return await work();
    } finally {
      this.#underWay -= 1;
      if (this.#underWay === 0) for (const tell of this.#idle) tell();
    }
  }

  /** Sets what ends a body that is being received. @returns what takes that back */
  onCut(cut: (error: RegistryError) => void): () => void {
    this.#cuts.add(cut);
    return () => void this.#cuts.delete(cut);
  }

  /** Ends the bodies that are being received: an upload keeps what came of it. */
  cut(): void {
    const error = refusal(this.#reason ?? '');
    for (const cut of this.#cuts) cut(error);
  }

  /**
   * Waits until no request that may change something is under way, for so many milliseconds at most.
   * @returns how many are under way still
   */
  async settled(withinMs: number): Promise<number> {
    if (this.#underWay === 0) return 0;
    let tell = (): void => undefined;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      tell = resolve;
      this.#idle.add(tell);
      timer = setTimeout(resolve, withinMs);
    });
    clearTimeout(timer);
    this.#idle.delete(tell);
    return this.#underWay;
  }
}

function refusal(reason: string): RegistryError {
  const told = 'the registry is in read-only mode';
  return new RegistryError('UNSUPPORTED', reason === '' ? told : `${told}: ${reason}`);
}
