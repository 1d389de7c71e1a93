import { writeFile } from 'node:fs/promises';

/** What a configuration file may hold. An `undefined` member takes the default's place and is left out. */
export type ConfigValue =
  | string
  | number
  | boolean
  | null
  | undefined
  | readonly ConfigValue[]
  | ConfigObject;
export interface ConfigObject {
  readonly [key: string]: ConfigValue;
}

/** The keys of `storage` that do not name a driver (registry:2's configuration). */
const NOT_DRIVERS = new Set(['cache', 'delete', 'maintenance', 'redirect', 'tag']);

/** What a test's server is configured with unless the test says otherwise; the same for both servers. */
export function defaultConfig(address: string, dataDirectory: string): ConfigObject {
  return {
    version: 0.1,
    log: { level: 'warn' },
    storage: { filesystem: { rootdirectory: dataDirectory }, delete: { enabled: true } },
    http: { addr: address },
  };
}

/** `changes` laid over `base`, object by object; lists and scalars replace. Another storage driver replaces the default one. */
export function mergeConfig(base: ConfigObject, changes: ConfigObject): ConfigObject {
  const merged: Record<string, ConfigValue> = { ...base };
  for (const [key, value] of Object.entries(changes)) {
    const before = merged[key];
    merged[key] = isObject(before) && isObject(value) ? mergeConfig(before, value) : value;
  }
  const { storage } = changes;
  if (isObject(storage) && isObject(merged['storage'])) {
    const driver = Object.keys(storage).find((key) => !NOT_DRIVERS.has(key));
    if (driver !== undefined && driver !== 'filesystem') {
      merged['storage'] = { ...merged['storage'], filesystem: undefined };
    }
  }
  return merged;
}

function isObject(value: ConfigValue): value is ConfigObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Writes a server's configuration to `path`. An object is merged over the defaults and written as JSON, which
 * is YAML. Text is written as it stands, with `{{addr}}` and `{{root}}` replaced by the address to listen on
 * and the data directory.
 */
export async function writeConfig(
  path: string,
  config: ConfigObject | string,
  address: string,
  dataDirectory: string,
): Promise<void> {
  const text =
    typeof config === 'string'
      ? config.replaceAll('{{addr}}', address).replaceAll('{{root}}', dataDirectory)
      : `${JSON.stringify(mergeConfig(defaultConfig(address, dataDirectory), config), undefined, 2)}\n`;
  await writeFile(path, text);
}
