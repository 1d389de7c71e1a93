/**
 * SIGKILL of the only worker at every rename, fsync and fdatasync of a push, one after the other. After each,
 * either the supervisor's next worker or a new server on the same data must have all that was acknowledged.
 */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { untilHolds } from '../harness/waiting.ts';
import { startEntrepot } from '../harness/entrepot.ts';
import { ask } from '../harness/registry-client.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';
import { checkBlobs, halfWritten, untilGone, uploadSessions } from './data-folder.ts';
import { type Acknowledged, nothingYet, pushImage, verifyAll } from './pushes.ts';
import { startInjected } from './strace.ts';

/** More than any push has of one kind. */
const MOST = 200;

let workspace: Workspace;
beforeAll(async () => {
  workspace = await createWorkspace('kill');
});
afterAll(async () => {
  await workspace.remove();
});

const kept: Acknowledged = nothingYet();

/** One round. @returns whether the push was interrupted */
async function killAt(call: string, step: number): Promise<boolean> {
  const dataDirectory = workspace.join('data');
  // The supervisor makes its admin socket by a rename of its own: without one, only the worker is killed.
  const config = { admin: { socket: 'off' } };
  const injected = await startInjected(`${call}:signal=KILL:when=${step}`, { dataDirectory, config });
  const repository = `killed/${call}/at${step}`;
  const done = nothingYet();
  try {
    const interrupted = await pushImage(injected.url, repository, 'v1', repository, done).then(
      () => false,
      (error: unknown) => {
        // An answer would have been an orderly refusal; this is a connection that broke.
        if (String(error).includes('answered')) throw error;
        return true;
      },
    );
    if (step % 2 === 0) {
      await untilAnswering(injected.url);
      await verifyAll(injected.url, done);
    } else {
      await injected.kill9();
      const next = await startEntrepot({ dataDirectory, workers: 1 });
      await verifyAll(next.url, done);
      await untilGone(() => halfWritten(dataDirectory));
      await pushImage(next.url, repository, 'v1', repository, done);
      await verifyAll(next.url, done);
      await next.dispose();
    }
    kept.blobs.push(...done.blobs);
    kept.manifests.push(...done.manifests);
    for (const [tag, digest] of done.tags) kept.tags.set(tag, digest);
    return interrupted;
  } finally {
    await injected.dispose();
  }
}

async function untilAnswering(url: string): Promise<void> {
  await untilHolds(() =>
    fetch(`${url}/v2/`).then(
      (answer) => answer.ok,
      () => false,
    ),
  );
}

describe('a worker that is killed in the middle of a push', () => {
  for (const [call, least] of [
    ['rename', 20],
    ['fsync', 5],
    ['fdatasync', 1],
  ] as const) {
    test(`at every ${call}: what was acknowledged is there, and nothing else can be read`, async () => {
      let step = 1;
      while (await killAt(call, step)) {
        step += 1;
        if (step > MOST) throw new Error(`still killed at ${call} number ${step}`);
      }
      // The test is worth something only if it did kill.
      expect(step).toBeGreaterThan(least);
    }, 300_000);
  }

  test('afterwards everything verifies, and what was left of the uploads is purged', async () => {
    const dataDirectory = workspace.join('data');
    const uploadpurging = { enabled: true, age: '1s', interval: '1s', dryrun: false };
    const registry = await startEntrepot({
      dataDirectory,
      config: { storage: { maintenance: { uploadpurging } } },
    });
    await verifyAll(registry.url, kept);
    expect(await checkBlobs(dataDirectory)).toBeGreaterThan(kept.tags.size);
    await untilGone(() => halfWritten(dataDirectory));
    await untilGone(() => uploadSessions(dataDirectory));
    await verifyAll(registry.url, kept);
    await ask(registry.url, '/v2/_catalog', 200);
    await registry.dispose();
  }, 300_000);
});
