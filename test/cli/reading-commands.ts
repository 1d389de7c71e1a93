/**
 * The commands that change nothing, and some that would. Run by root as `reading-commands.ts CONFIG` it becomes the user
 * `nobody`, and prints how each of them ended as JSON.
 */
import { printUsage } from '../../src/cli/usage.ts';
import { retention, retentionExplain, scrub } from '../../src/cli/check-storage.ts';
import type { CommandIo } from '../../src/cli/command-io.ts';
import { garbageCollect, gc } from '../../src/cli/upkeep.ts';
import { captured } from './captured-io.ts';

type Ended = Awaited<ReturnType<typeof captured>>;

const COMMANDS: Readonly<Record<string, (file: string, io: CommandIo) => Promise<number>>> = {
  scrub: (file, io) => scrub({ file }, io),
  'gc --dry-run': (file, io) => gc({ file, dryRun: true }, io),
  'garbage-collect --dry-run': (file, io) => garbageCollect({ file, dryRun: true }, io),
  'retention run --dry-run': (file, io) => retention({ file, dryRun: true }, io),
  'retention explain': (file, io) => retentionExplain({ file }, io),
  usage: (file, io) => printUsage({ file }, io),
  gc: (file, io) => gc({ file }, io),
  'scrub --repair': (file, io) => scrub({ file, repair: true }, io),
};

/** How each of them ends. */
export async function runAll(file: string): Promise<Readonly<Record<string, Ended>>> {
  const ended: Record<string, Ended> = {};
  for (const [name, command] of Object.entries(COMMANDS))
    ended[name] = await captured((io) => command(file, io));
  return ended;
}

if (import.meta.main) {
  const NOBODY = 65_534;
  const file = process.argv[2] ?? '';
  // Loads what is loaded lazily, while everything can still be read.
  await runAll(`${file}.none`);
  process.setgroups?.([]);
  process.setgid?.(NOBODY);
  process.setuid?.(NOBODY);
  console.log(JSON.stringify(await runAll(file)));
}
