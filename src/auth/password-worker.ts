/** The thread that computes bcrypt, which takes 50-100 ms of a core at the usual cost. See password-thread.ts. */
import { parentPort } from 'node:worker_threads';
import { compareSync } from 'bcryptjs';
import { costOf, dummyHash } from './bcrypt.ts';
import type { FromPasswordThread, PasswordJob, ToPasswordThread } from './password-thread.ts';

parentPort?.on('message', ({ id, job }: ToPasswordThread) => {
  parentPort?.postMessage(answer(id, job));
});

function answer(id: number, job: PasswordJob): FromPasswordThread {
  try {
    return { id, matches: matches(job) };
  } catch (error) {
    return { id, failure: error instanceof Error ? error.message : String(error) };
  }
}

/** A wrong password of a cheaper hash takes as long as one of an unknown account: each step of cost doubles the work. */
function matches({ password, hash, cost }: PasswordJob): boolean {
  if (compareSync(password, hash)) return true;
  for (let rest = costOf(hash) ?? cost; rest < cost; rest += 1) compareSync(password, dummyHash(rest));
  return false;
}
