/** `entrepot serve [FILE]`: the supervisor's process. It stays small; the workers load the registry. */
import { availableParallelism } from 'node:os';
import { loggerFor, openStorage, readCertificate, StartFailure } from '../app.ts';
import { ConfigError, loadConfig, openingsOf } from '../config/load.ts';
import { AddressUnavailable } from '../server/address.ts';
import type { Address } from '../server/listener.ts';
import { supervise } from '../server/supervisor.ts';
import { WorkerCannotStart } from '../server/worker-slot.ts';
import { printWelcome } from './welcome.ts';

/**
 * Serves until told to stop.
 * @returns the exit code: 1 when the server could not start, after one clear line for each reason
 */
export async function serve(file: string | undefined): Promise<number> {
  try {
    const { config, warnings } = await loadConfig({
      ...(file === undefined ? {} : { file }),
      env: process.env,
    });
    const log = loggerFor(config);
    for (const warning of warnings) log.warn(warning);
    for (const opening of openingsOf(config)) log.warn(`WARNING: ${opening}`);
    openStorage(config);
    readCertificate(config);
    const inMemory = config.storage.driver.kind === 'inmemory';
    const workers = inMemory ? 1 : (config.http.workers ?? availableParallelism());
    return await supervise({
      workers,
      address: config.http.addr,
      startMessage: config,
      drainTimeoutMs: config.http.drainTimeoutMs,
      log: (level, message, fields) =>
        log[level](message, Object.fromEntries(Object.entries(fields).map(plain))),
      onReady: (address: Address) => printWelcome(config, address, file),
    });
  } catch (error) {
    if (!isExpected(error)) throw error;
    if (error instanceof ConfigError)
      for (const warning of error.warnings) process.stderr.write(`warning: ${warning}\n`);
    process.stderr.write(`${error.message}\n`);
    return 1;
  }
}

function plain([name, value]: [string, unknown]): [string, string | number | boolean] {
  const simple = typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
  return [name, simple ? value : String(value)];
}

function isExpected(error: unknown): error is Error {
  return [ConfigError, StartFailure, AddressUnavailable, WorkerCannotStart].some(
    (kind) => error instanceof kind,
  );
}
