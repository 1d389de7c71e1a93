/** The thread that computes bcrypt, which takes 50-100 ms of a core at the usual cost. See passwords.ts. */
import { parentPort } from 'node:worker_threads';
import { compareSync, hashSync } from 'bcryptjs';
import type { FromPasswordThread, ToPasswordThread } from './passwords.ts';

parentPort?.on('message', (message: ToPasswordThread) => {
  parentPort?.postMessage(answer(message));
});

function answer(message: ToPasswordThread): FromPasswordThread {
  const { id } = message;
  try {
    if (message.kind === 'verify') return { id, result: compareSync(message.password, message.hash) };
    return { id, result: hashSync(message.password, message.cost) };
  } catch {
    return { id, result: false }; // a hash that is none
  }
}
