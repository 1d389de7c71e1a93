import { ConfigError, describeConfig, loadConfig } from '../config/load.ts';
import { processIo } from './command-io.ts';

/** `entrepot config [FILE]`. @returns the exit code: 1 when the configuration is wrong */
export async function showConfig(file: string | undefined): Promise<number> {
  const io = processIo({ isListing: true });
  try {
    const { config, warnings } = await loadConfig({
      ...(file === undefined ? {} : { file }),
      env: io.env,
    });
    for (const warning of warnings) io.err(`warning: ${warning}\n`);
    io.out(describeConfig(config));
    return 0;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const warning of error.warnings) io.err(`warning: ${warning}\n`);
    io.err(`${error.message}\n`);
    return 1;
  }
}
