/** From the arguments to a command. A worker process skips the command line: it must start fast. */
import { isWorker } from './server/worker.ts';

if (isWorker()) {
  const { work } = await import('./cli/worker.ts');
  await work();
} else {
  const { run } = await import('./cli/program.ts');
  process.exitCode = await run(process.argv.slice(2));
}
