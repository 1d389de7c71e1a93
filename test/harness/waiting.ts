/** Waiting for what a test has set in motion. No test may depend on how long something takes. */
import { setTimeout } from 'node:timers/promises';

/** Milliseconds: far more than anything takes, so that no busy machine decides a test. */
const PATIENCE = 180_000;

/** Milliseconds between two looks. */
const AGAIN = 20;

/** Waits so many milliseconds. */
export async function pause(milliseconds: number): Promise<void> {
  await setTimeout(milliseconds);
}

/**
 * Asks until the answer is the one waited for, and returns that.
 * @throws Error that shows the last answer when it has not come after three minutes
 */
export async function eventually<T>(
  what: string,
  ask: () => Promise<T> | T,
  isIt: (seen: T) => boolean,
): Promise<T> {
  for (const end = Date.now() + PATIENCE; ; await pause(AGAIN)) {
    const seen = await ask();
    if (isIt(seen)) return seen;
    if (Date.now() > end) throw new Error(`waited in vain for ${what}; seen last: ${JSON.stringify(seen)}`);
  }
}

/** What is asked until it is so. */
export type Condition = () => Promise<boolean> | boolean;

/**
 * Waits until something holds.
 * @param context what to show when it does not, such as a server's log
 * @throws Error that shows the condition's own text when it does not hold after three minutes
 */
export async function untilHolds(condition: Condition, context: () => string = () => ''): Promise<void> {
  for (const end = Date.now() + PATIENCE; !(await condition()); await pause(AGAIN))
    if (Date.now() > end) throw new Error(`waited in vain for ${condition.toString()}\n${context()}`);
}

/**
 * Waits until a server has said it: what it writes reaches us by another way than its answers do.
 * @throws Error that shows its log when it has not after three minutes
 */
export async function untilLogged(
  server: { readonly logs: () => string },
  text: string | RegExp,
): Promise<void> {
  await untilHolds(
    () => (typeof text === 'string' ? server.logs().includes(text) : text.test(server.logs())),
    () => `${String(text)} in\n${server.logs()}`,
  );
}
