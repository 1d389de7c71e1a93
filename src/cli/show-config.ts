import { ConfigError, describeConfig, loadConfig } from '../config/load.ts';

/** `entrepot config [FILE]`. @returns the exit code: 1 when the configuration is wrong */
export async function showConfig(file: string | undefined): Promise<number> {
  try {
    const { config, warnings } = await loadConfig({
      ...(file === undefined ? {} : { file }),
      env: process.env,
    });
    for (const warning of warnings) process.stderr.write(`warning: ${warning}\n`);
    process.stdout.write(describeConfig(config));
    return 0;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const warning of error.warnings) process.stderr.write(`warning: ${warning}\n`);
    process.stderr.write(`${error.message}\n`);
    return 1;
  }
}
