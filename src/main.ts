/** From the arguments to a command. A worker or job process skips the command line: it must start fast. */
import { isJob } from './server/job.ts';
import { isWorker } from './server/worker.ts';

if (isWorker()) {
  const { work } = await import('./cli/worker.ts');
  await work();
} else if (isJob()) {
  const { doJob } = await import('./cli/job.ts');
  await doJob();
} else {
  const { run } = await import('./cli/program.ts');
  process.exitCode = await run(process.argv.slice(2));
}
