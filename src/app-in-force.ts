/** The configuration that is in force, which the supervisor keeps. A part of the composition root. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { proveAccess } from './app-access.ts';
import type { AuthConfig } from './config/auth-config.ts';
import type { Config } from './config/config.ts';
import type { Environment } from './config/environment.ts';
import { type ConfigWatch, watchConfig } from './config/watch.ts';
import type { LoadedConfig } from './config/load.ts';
import type { Logger } from './log.ts';
import { StartFailure } from './start-failure.ts';

/** How often it is looked whether there is a file of accounts, in milliseconds. */
const LOOK_EVERY = 2_000;

export interface InForceOptions {
  /** The configuration file, if there is one, and what it looked like before `config` was read from it. */
  readonly file: string | undefined;
  readonly since: string;
  readonly env: Environment;
  readonly log: Logger;
}

/**
 * What the server was started with, with the accounts, rights, rules of tags and settings of upkeep that were taken up from
 * its file since.
 * One place for all processes: whoever starts later begins with what the others have, whatever the file says by then,
 * and two that look at different moments never end up with different rights.
 */
export class ConfigInForce {
  #config: Config;
  /** What the file said when it was last right. */
  #latest: Config;
  readonly #options: InForceOptions;
  #watch: ConfigWatch | undefined;
  #timer: NodeJS.Timeout | undefined;
  #onChange: () => void = () => undefined;
  readonly #accountFiles = new Set<string>();
  /** Of what the file says now: whether its accounts and rights can be used, and else why not. */
  #isUsable = true;
  #refused = '';

  constructor(config: Config, options: InForceOptions) {
    this.#config = config;
    this.#latest = config;
    this.#options = options;
  }

  /** Plain JSON. Everything that does not change without a restart is as it was at the start. */
  get config(): Config {
    return this.#config;
  }

  /** Files of accounts that were there: that one of them is not is a fault, and not an empty list of accounts. */
  get accountFiles(): readonly string[] {
    return [...this.#accountFiles];
  }

  /** Looks at the file from now on, and calls `onChange` whenever `config` is another one. */
  follow(onChange: () => void): void {
    const { file, since, env } = this.#options;
    this.#onChange = onChange;
    this.#timer = setInterval(() => void this.#noteAccountFile(), LOOK_EVERY).unref();
    if (file !== undefined) {
      this.#watch = watchConfig({
        file,
        env,
        since,
        onChange: (loaded, isAgain) => this.#take(file, loaded, isAgain),
        onError: ({ message }) =>
          this.#refuse(`${file} has changed and is wrong: what was in force stays so`, message),
      });
    }
  }

  /** Takes up what the file says now, if it is followed, and notes whether there is a file of accounts; resolves when that is done. Never rejects. */
  async look(): Promise<void> {
    await this.#watch?.look();
    await this.#noteAccountFile();
  }

  stop(): void {
    this.#watch?.stop();
    clearInterval(this.#timer);
  }

  /** @returns whether all of it that can be taken up is in force */
  #take(file: string, { config: changed, warnings }: LoadedConfig, isAgain: boolean): boolean {
    const { log } = this.#options;
    if (!isAgain) {
      for (const warning of warnings) log.warn(warning);
      this.#refused = '';
    }
    this.#isUsable = true;
    const others = changedSections(this.#latest, changed);
    if (others !== '') log.warn(`${file} has changed: ${others} counts from the next start`);
    this.#latest = changed;
    const before = this.#config;
    const ruled = withRules(before, changed);
    const rules = changedRules(before, ruled);
    if (rules.length > 0) log.info(`${file} has changed: ${rules.join(', ')} are taken up`);
    const after = this.#withAuth(file, ruled, changed.auth);
    if (rules.length === 0 && isDeepStrictEqual(after.auth, before.auth)) return this.#isUsable;
    this.#config = after;
    this.#onChange();
    return this.#isUsable;
  }

  /** With other accounts and rights, where those can be used. */
  #withAuth(file: string, { auth: present, ...rest }: Config, wanted: AuthConfig | undefined): Config {
    const { log } = this.#options;
    const auth = wanted === undefined ? undefined : withKeysOf(present, wanted);
    const before = present === undefined ? rest : { ...rest, auth: present };
    if (isDeepStrictEqual(auth, present)) return before;
    // To open a registry, or to change who gives out its tokens, is more than a change of rights.
    if (auth === undefined || auth.kind !== present?.kind) {
      log.error(`${file} has changed: another kind of login counts from the next start`);
      return before;
    }
    try {
      proveAccess({ ...rest, auth });
    } catch (error) {
      if (!(error instanceof StartFailure)) throw error;
      this.#isUsable = false;
      if (error.message !== this.#refused)
        this.#refuse(
          `${file} has changed and cannot be used: accounts and rights stay as they were`,
          error.message,
        );
      this.#refused = error.message;
      return before;
    }
    log.info(`${file} has changed: accounts and rights are taken up`);
    return { ...rest, auth };
  }

  #refuse(what: string, error: string): void {
    this.#options.log.error(what, { error });
  }

  async #noteAccountFile(): Promise<void> {
    const { auth } = this.#config;
    if (auth?.kind !== 'own' || auth.htpasswd === undefined) return;
    const { path } = auth.htpasswd;
    const isThere = await stat(path).then(
      () => true,
      () => false,
    );
    if (isThere) this.#accountFiles.add(path);
  }
}

/** With the rules of tags and the settings of upkeep that a changed file has. */
function withRules({ retention: _before, ...before }: Config, changed: Config): Config {
  const { garbageCollector, scrub, retention } = changed;
  return {
    ...before,
    tags: { ...changed.tags, maxTags: before.tags.maxTags },
    garbageCollector,
    scrub,
    storage: { ...before.storage, uploadPurging: changed.storage.uploadPurging },
    ...(retention === undefined ? {} : { retention }),
  };
}

/** Which of them are others now, for a message. */
function changedRules(before: Config, after: Config): readonly string[] {
  const rulesOf = ({ tags, garbageCollector, retention, scrub, storage }: Config) => ({
    'the rules of tags': tags,
    'the settings of garbage_collector': garbageCollector,
    'the settings of retention': retention,
    'the settings of scrub': scrub,
    'the settings of storage.maintenance.uploadpurging': storage.uploadPurging,
  });
  return differences(rulesOf(before), rulesOf(after));
}

/** Tokens are signed and kept as at the start: processes with different keys would refuse each other's tokens. */
function withKeysOf(present: AuthConfig | undefined, wanted: AuthConfig): AuthConfig {
  if (present?.kind !== 'own' || wanted.kind !== 'own') return wanted;
  const { privateKey: _private, publicKey: _public, hmacSecret: _secret, ...others } = wanted;
  const { stateDirectory: state, htpasswd, ...rest } = others;
  // The file of accounts in that folder moves with it, at the next start.
  const isMoved = state !== present.stateDirectory && htpasswd?.path === join(state ?? '', 'htpasswd');
  const accounts = isMoved ? present.htpasswd : htpasswd;
  return { ...rest, ...(accounts === undefined ? {} : { htpasswd: accounts }), ...keysOf(present) };
}

type OwnKeys = Pick<
  Extract<AuthConfig, { kind: 'own' }>,
  'signingMethod' | 'privateKey' | 'publicKey' | 'hmacSecret' | 'stateDirectory'
>;

function keysOf(auth: OwnKeys): OwnKeys {
  const { signingMethod, privateKey, publicKey, hmacSecret, stateDirectory } = auth;
  return {
    signingMethod,
    ...(privateKey === undefined ? {} : { privateKey }),
    ...(publicKey === undefined ? {} : { publicKey }),
    ...(hmacSecret === undefined ? {} : { hmacSecret }),
    ...(stateDirectory === undefined ? {} : { stateDirectory }),
  };
}

/** What has changed beside what is taken up at once, for a message. */
function changedSections(before: Config, after: Config): string {
  const settled = ({ auth, ...others }: Config) => ({
    ...others,
    'the signing or keeping of tokens (auth)': auth?.kind === 'own' ? keysOf(auth) : undefined,
  });
  return differences(settled(withRules(before, after)), settled(after)).join(', ');
}

/** Names of what differs. */
function differences<T extends object>(before: T, after: T): readonly string[] {
  const names = new Set([...Object.keys(before), ...Object.keys(after)]) as Set<keyof T & string>;
  return [...names].filter((name) => !isDeepStrictEqual(before[name], after[name]));
}
