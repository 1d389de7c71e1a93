/** A job's process of `entrepot serve`: a piece of upkeep beside the workers, whatever becomes of it. */
import { setPriority } from 'node:os';
import { loggerFor, openForUpkeep } from '../app.ts';
import { isJobName, runJob } from '../app-upkeep.ts';
import type { Config } from '../config/config.ts';
import { jobParent } from '../server/job.ts';
import { StartFailure } from '../start-failure.ts';

/** Who serves comes first: of 0 (as they) to 19. */
const NICENESS = 5;

/** Items that may be on their way to whoever reads them; with more the job waits. */
const MOST_UNREAD = 2_000;

/** Does the job that the parent names, and ends. */
export async function doJob(): Promise<void> {
  const { start, signal, tell, onTaken, end } = await jobParent();
  const config = start.config as Config;
  const { job } = start;
  if (!isJobName(job)) return end({ kind: 'failed', message: `${job}: there is no such job` });
  beModest();
  let unread = 0;
  let wake = (): void => undefined;
  onTaken((count) => {
    unread -= count;
    wake();
  });
  const whenRead = (): Promise<void> | undefined => {
    if (unread < MOST_UNREAD) return undefined;
    return new Promise((resolve) => {
      wake = () => {
        if (unread < MOST_UNREAD || signal.aborted) resolve();
      };
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
  };
  try {
    const fields = { ...config.log.fields, job };
    return end(
      await runJob(job, start.options, {
        config,
        objects: openForUpkeep(config),
        log: loggerFor({ ...config, log: { ...config.log, fields } }),
        signal,
        exclusive: false,
        whenRead,
        onEvent(event) {
          if (event.kind === 'items') unread += event.items.length;
          tell(event);
        },
      }),
    );
  } catch (error) {
    if (!(error instanceof StartFailure)) throw error;
    return end({ kind: 'failed', message: error.message });
  }
}

function beModest(): void {
  try {
    setPriority(NICENESS);
  } catch {
    // A system that does not let it: then it is as fast as the others.
  }
}
