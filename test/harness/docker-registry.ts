import { type RegistryOptions, type RunningRegistry, startRegistry } from './running-registry.ts';
import { type Finished, requireTool, run } from './tools.ts';

/**
 * Starts Debian's `docker-registry` (distribution 2.8) on a free port of 127.0.0.1 and waits until it answers.
 * @throws Error with its logs when it does not answer within two minutes
 */
export async function startDockerRegistry(options: RegistryOptions = {}): Promise<RunningRegistry> {
  const command = requireTool('docker-registry');
  return await startRegistry('docker-registry', options, (file) => ({ command, args: ['serve', file] }));
}

/**
 * Runs `docker-registry garbage-collect`. The server should not run meanwhile.
 * @param deleteUntagged `-m`: also collect manifests that no tag points at
 */
export async function collectGarbage(
  configFile: string,
  options: { deleteUntagged?: boolean; dryRun?: boolean } = {},
): Promise<Finished> {
  const flags = [
    ...(options.deleteUntagged === true ? ['-m'] : []),
    ...(options.dryRun === true ? ['-d'] : []),
  ];
  return await run('docker-registry', ['garbage-collect', ...flags, configFile]);
}
