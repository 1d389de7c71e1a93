/** Run by root as `running-as-nobody.ts NAME…` it becomes the user `nobody`, and prints as JSON which of them it takes for running. */
import { isRunning } from '../../src/process-identity.ts';

const NOBODY = 65_534;
process.setgroups?.([]);
process.setgid?.(NOBODY);
process.setuid?.(NOBODY);
console.log(JSON.stringify(process.argv.slice(2).map((name) => isRunning(name) ?? 'unknown')));
