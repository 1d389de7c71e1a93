/** Keeps a certificate of a directory good: asks for it when it is missing, for other names, or old. */
import type { X509Certificate } from 'node:crypto';
import { LockHeld } from '../file-lock.ts';
import type { Logger } from '../log.ts';
import { type AcmeFolder, type AcmeState, isPlaceholder } from './acme-folder.ts';
import { DirectoryProblem, namesMissing, type Signed } from './acme-order.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
/** The wait after a failure doubles from the one to the other, in milliseconds. */
const RETRY = { first: MINUTE, most: 6 * HOUR };
/** A directory's `Retry-After` counts up to here: an operator may have mended what it was about. */
const MOST_RETRY_AFTER = 24 * HOUR;
/** How often it is looked whether something is to be done, also by another node, in milliseconds. */
const LOOK_EVERY = 5_000;
/** The longest wait until the next look when looking itself fails, in milliseconds. */
const MOST_LOOK_WAIT = 10 * MINUTE;

export interface Renewal {
  readonly folder: AcmeFolder;
  readonly hosts: readonly string[];
  readonly directoryUrl: string;
  /** All that an attempt depends on, as one text: with other settings there is no reason to wait. */
  readonly settings: string;
  readonly order: () => Promise<Signed>;
  /** What to do about a failure, for the log. */
  readonly advise: (problem: unknown) => string;
  readonly log: Logger;
}

/** What a round has done. */
export type Outcome = 'nothing' | 'waiting' | 'elsewhere' | 'obtained' | 'failed';

/**
 * Makes sure that there is something to show: a placeholder, where there is no certificate that can be used at all.
 * @returns whether a directory has signed what is there
 */
export async function prepareAcme(
  folder: AcmeFolder,
  hosts: readonly string[],
  now = Date.now(),
): Promise<boolean> {
  const isSigned = async () => {
    const present = await folder.certificate();
    return present !== undefined && !isPlaceholder(present);
  };
  if (await isSigned()) return true;
  const { makePlaceholder } = await import('./placeholder.ts');
  const made = await makePlaceholder(hosts, now);
  // Another node may have been given a real one meanwhile.
  if (await isSigned()) return true;
  await folder.writeCertificate(made, '');
  return false;
}

/**
 * One look, and one attempt if it is time for one. One process of all nodes asks at a time, and who comes second takes
 * what the first has got.
 */
export async function renewIfDue(renewal: Renewal, now = Date.now()): Promise<Outcome> {
  const { folder } = renewal;
  if (!(await isDue(renewal, now))) return 'nothing';
  if (waitOf(renewal, await folder.state()) > now) return 'waiting';
  try {
    return await folder.alone(async () => {
      // Another process may have been at it meanwhile.
      const state = await folder.state();
      if (!(await isDue(renewal, now))) return 'nothing';
      if (waitOf(renewal, state) > now) return 'waiting';
      return attempt(renewal, state, now);
    });
  } catch (error) {
    if (error instanceof LockHeld) return 'elsewhere';
    throw error;
  }
}

/**
 * Looks every few seconds, and more seldom while looking itself fails; each failure is told.
 * @param every milliseconds between two looks
 * @returns what ends that, and says whether an attempt is under way, which cannot be ended but with the process
 */
export function keepRenewed(renewal: Renewal, every = LOOK_EVERY): () => boolean {
  let running = false;
  let isFirst = true;
  let failures = 0;
  let notBefore = 0;
  const look = async (): Promise<void> => {
    try {
      const outcome = await renewIfDue(renewal);
      failures = 0;
      if (isFirst && outcome === 'waiting') await tellWait(renewal);
      isFirst = false;
    } catch (error) {
      failures += 1;
      const wait = Math.min(MOST_LOOK_WAIT, every * 2 ** Math.min(failures, 20));
      notBefore = performance.now() + wait;
      renewal.log.error('the certificate cannot be looked after', {
        error: error instanceof Error ? error.message : String(error),
        again: new Date(Date.now() + wait).toISOString(),
      });
    }
  };
  const lookInTime = (): void => {
    if (running || performance.now() < notBefore) return;
    running = true;
    void look().finally(() => (running = false));
  };
  const timer = setInterval(lookInTime, every);
  timer.unref();
  lookInTime();
  return () => {
    clearInterval(timer);
    return running;
  };
}

/** Who has just started the server would wait without knowing for what. */
async function tellWait({ folder, log }: Renewal): Promise<void> {
  const { notBefore = 0, failures = 0 } = await folder.state();
  log.warn('no certificate is asked for yet: the last attempt failed, or another process is at it', {
    failures,
    ...whenAgain(folder, notBefore),
  });
}

function whenAgain({ stateFile }: AcmeFolder, notBefore: number): { readonly again: string } {
  return { again: `${new Date(notBefore).toISOString()}, or at once when ${stateFile} is removed` };
}

/** Whether the certificate is missing, not for all names, of another directory, or past two thirds of its time. */
async function isDue({ folder, hosts, directoryUrl }: Renewal, now: number): Promise<boolean> {
  const present = await folder.certificate();
  if (present === undefined || isPlaceholder(present) || namesMissing(present, hosts).length > 0) return true;
  if (isOld(present, now)) return true;
  const { signedBy = directoryUrl } = await folder.state();
  return signedBy !== directoryUrl;
}

function isOld({ validFrom, validTo }: X509Certificate, now: number): boolean {
  // Texts, as Node 20 has no `validToDate`.
  const [begin, end] = [Date.parse(validFrom), Date.parse(validTo)];
  return now >= begin + ((end - begin) * 2) / 3;
}

/** Milliseconds since 1970 before which nothing is to be tried. */
function waitOf({ settings }: Renewal, { notBefore = 0, settings: failed }: AcmeState): number {
  return failed === settings ? notBefore : 0;
}

async function attempt(renewal: Renewal, state: AcmeState, now: number): Promise<Outcome> {
  const { folder, hosts, directoryUrl, settings, log } = renewal;
  const { signedBy } = state;
  const failures = (state.settings === settings ? (state.failures ?? 0) : 0) + 1;
  const note = async (wait: number): Promise<number> => {
    const notBefore = Math.round(Math.max(now, Date.now()) + wait);
    await folder.writeState({
      ...(signedBy === undefined ? {} : { signedBy }),
      failures,
      notBefore,
      settings,
    });
    return notBefore;
  };
  // Before it is made: neither one that ends with the process nor a full disk may make us come again and again.
  const wait = backOff(failures);
  await note(wait);
  try {
    const { certificate, key } = await renewal.order();
    await folder.writeCertificate(certificate, key);
    const signed = await folder.certificate();
    // It would be asked for again and again.
    if (signed === undefined || isOld(signed, now)) {
      throw new DirectoryProblem('what was signed just now is old by the clock of this machine', 'clock');
    }
    await folder.writeState({ signedBy: directoryUrl });
    log.info('a certificate is signed, and is shown within seconds', {
      names: hosts.join(', '),
      until: signed.validTo,
    });
    return 'obtained';
  } catch (error) {
    const asked = error instanceof DirectoryProblem ? Math.min(error.retryAfter, MOST_RETRY_AFTER) : 0;
    const notBefore = await note(Math.max(asked, wait));
    const shown = await folder.certificate();
    log.error('no certificate could be had', {
      error: error instanceof Error ? error.message : String(error),
      advice: renewal.advise(error),
      ...whenAgain(folder, notBefore),
      shown: shown === undefined || isPlaceholder(shown) ? 'a placeholder' : `one until ${shown.validTo}`,
    });
    return 'failed';
  }
}

/** Milliseconds to wait after so many failures: at random, so that those who failed together do not come together. */
export function backOff(failures: number, random = Math.random()): number {
  const { first, most } = RETRY;
  const doubled = Math.min(most, first * 2 ** Math.min(failures - 1, 20));
  return Math.min(most, Math.round(doubled * (1 + random / 2)));
}
