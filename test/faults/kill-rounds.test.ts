/**
 * Rounds of eight pushers and SIGKILL of a random worker, or of the whole server, at random times, all on one
 * folder. ENTREPOT_FAULT_ROUNDS sets their number (10 unless set; 100 for a thorough run), ENTREPOT_FAULT_SEED
 * what is random.
 */
import { createHash } from 'node:crypto';
import { expect, test } from 'bun:test';
import { pause } from '../harness/waiting.ts';
import { startEntrepot } from '../harness/entrepot.ts';
import { createWorkspace } from '../harness/workspace.ts';
import { checkBlobs, halfWritten, untilGone, uploadSessions } from './data-folder.ts';
import { nothingYet, pushImage, verifyAll } from './pushes.ts';
import { childrenOf, descendantsOf, untilEnded } from './worker-pids.ts';

const ROUNDS = Number(process.env['ENTREPOT_FAULT_ROUNDS'] ?? 10);
const SEED = process.env['ENTREPOT_FAULT_SEED'] ?? String(Date.now());
const PUSHERS = 8;

/** A number from 0 up to but not including `below`, that follows from the seed and the words. */
function chance(below: number, ...words: (string | number)[]): number {
  const hash = createHash('sha256')
    .update([SEED, ...words].join(' '))
    .digest();
  return hash.readUInt32BE() % below;
}

test(
  `${ROUNDS} rounds of ${PUSHERS} pushers and kill -9 (seed ${SEED})`,
  async () => {
    const workspace = await createWorkspace('rounds');
    const dataDirectory = workspace.join('data');
    const done = nothingYet();
    for (let round = 0; round < ROUNDS; round += 1) {
      const registry = await startEntrepot({ dataDirectory, workers: 2 });
      const state = { over: false };
      const before = done.manifests.length;
      const pushers = Array.from({ length: PUSHERS }, async (_, pusher) => {
        for (let image = 0; !state.over; image += 1) {
          // Repositories and tags are shared by two pushers each, some images by all.
          const seed = image % 3 === 0 ? `shared ${round} ${image}` : `${round} ${pusher} ${image}`;
          const tag = image % 2 === 0 ? 'latest' : `v${image}`;
          await pushImage(registry.url, `team/r${pusher >> 1}`, tag, seed, done, 30_000).catch(() =>
            pause(20),
          );
        }
      });
      // A worker or two die first in half of the rounds; the supervisor brings others.
      for (let kill = 0; kill < chance(3, 'kills', round); kill += 1) {
        await pause(chance(300, 'pause', round, kill));
        const workers = childrenOf(registry.pid);
        const victim = workers[chance(Math.max(1, workers.length), 'victim', round, kill)];
        if (victim !== undefined) process.kill(victim, 'SIGKILL');
      }
      await pause(50 + chance(400, 'end', round));
      // On a busy machine nothing may have come to its end by then.
      for (let waited = 0; done.manifests.length === before && waited < 200; waited += 1) await pause(50);
      const all = descendantsOf(registry.pid);
      // Said first: what a pusher began after the end could reach another server, which has got the port by then.
      state.over = true;
      await registry.kill9();
      await untilEnded(all);
      await Promise.all(pushers);
      await registry.dispose();
    }
    expect(done.manifests.length).toBeGreaterThanOrEqual(ROUNDS);

    const uploadpurging = { enabled: true, age: '1s', interval: '1s', dryrun: false };
    const registry = await startEntrepot({
      dataDirectory,
      config: { storage: { maintenance: { uploadpurging } } },
    });
    await verifyAll(registry.url, done);
    expect(await checkBlobs(dataDirectory)).toBeGreaterThan(0);
    // The server's own writes come and go.
    await untilGone(() => halfWritten(dataDirectory));
    await untilGone(() => uploadSessions(dataDirectory));
    await registry.dispose();
    await workspace.remove();
  },
  60_000 + ROUNDS * 10_000,
);
