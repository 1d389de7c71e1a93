/** Read-only mode that is switched while the server runs, on all nodes. */
import type { ReadOnlyStatus } from './messages.ts';

/** What is kept in the storage of it; see `store/notes.ts`. */
export interface ReadOnlyState {
  readonly reason: string;
  readonly since: number;
}

/** What the supervisor asks each worker; plain JSON. */
export interface ReadOnlyQuestion {
  readonly subject: 'read-only';
  readonly state: ReadOnlyState | undefined;
  /** Milliseconds that requests under way have before they are cut. */
  readonly waitMs: number;
}

export interface SwitchOptions {
  /** It is read-only by the configuration: nothing switches it off. */
  readonly isConfigured: boolean;
  readonly read: () => Promise<ReadOnlyState | undefined>;
  readonly write: (state: ReadOnlyState | undefined) => Promise<void>;
  /** Tells every worker, and waits for them. @returns requests that are under way all the same */
  readonly tell: (question: ReadOnlyQuestion) => Promise<number>;
  /** Ends what the server itself does to the storage. */
  readonly onOn: () => Promise<void>;
  readonly log: (message: string, fields: { readonly reason?: string }) => void;
}

/** How often it is looked whether another node, or a command without a server, has switched; in milliseconds. */
const LOOK_EVERY = 2_000;
/** Milliseconds that requests under way have to end in. What they send then is cut, and can be resumed. */
const WAIT = 30_000;

export class ReadOnlySwitch {
  readonly #options: SwitchOptions;
  #state: ReadOnlyState | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** One change after the other. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: SwitchOptions) {
    this.#options = options;
  }

  /** Begins to look at the storage. Workers look there themselves when they start. */
  start(): void {
    let looking = false;
    const look = async (): Promise<void> => {
      if (looking) return;
      looking = true;
      // Storage that cannot be reached for a moment changes nothing.
      await this.#inTurn(() => this.#look()).catch(() => undefined);
      looking = false;
    };
    void look();
    this.#timer = setInterval(() => void look(), LOOK_EVERY).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  get isOn(): boolean {
    return this.#options.isConfigured || this.#state !== undefined;
  }

  get status(): ReadOnlyStatus {
    const { isConfigured } = this.#options;
    const { reason, since } = this.#state ?? {};
    return {
      on: this.isOn,
      ...(reason === undefined || reason === '' ? {} : { reason }),
      ...(since === undefined ? {} : { since }),
      ...(isConfigured ? { configured: true } : {}),
    };
  }

  /**
   * When it is fulfilled, the new state is in force in all workers. Without a reason, one that was given before stays.
   * @returns requests that are under way all the same
   */
  change(on: boolean, reason = this.#state?.reason ?? ''): Promise<number> {
    return this.#inTurn(async () => {
      const state = on ? { reason, since: this.#state?.since ?? Date.now() } : undefined;
      // First there, so that workers that start meanwhile find it.
      await this.#options.write(state);
      return this.#take(state);
    });
  }

  async #look(): Promise<void> {
    const state = await this.#options.read();
    if (JSON.stringify(state) !== JSON.stringify(this.#state)) await this.#take(state);
  }

  async #take(state: ReadOnlyState | undefined): Promise<number> {
    const { tell, onOn, log } = this.#options;
    const wasOn = this.#state !== undefined;
    this.#state = state;
    if ((state !== undefined) !== wasOn) {
      const reason = state?.reason ?? '';
      const fields = reason === '' ? {} : { reason };
      log(
        state === undefined ? 'read-only mode is off' : 'read-only mode is on: changes are refused',
        fields,
      );
    }
    const told = tell({ subject: 'read-only', state, waitMs: WAIT });
    if (state !== undefined) await onOn();
    return told;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work, work);
    this.#turn = result.catch(() => undefined);
    return result;
  }
}
