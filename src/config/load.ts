import { readFile, stat } from 'node:fs/promises';
import * as v from 'valibot';
import { checkKeys } from './check-keys.ts';
import type { Config } from './config.ts';
import { effectiveConfig } from './effective.ts';
import { applyEnvironment, type Environment, PATH_VARIABLE, sectionOf } from './environment.ts';
import { ConfigError, Findings, visible } from './findings.ts';
import { SCALAR_FORMS } from './known-keys.ts';
import { parseYaml } from './parse-yaml.ts';
import { type File, fileSchema } from './schema.ts';
import { emptyMap, isNull, type MapNode, nodeAt, type Path, schemaInput } from './tree.ts';

export type { Config } from './config.ts';
export { describeConfig } from './describe.ts';
export { openingsOf } from './effective.ts';
export { ConfigError } from './findings.ts';

/** A configuration, where it came from, and what its author should know. */
export interface LoadedConfig {
  readonly config: Config;
  /** Complete lines for the log. */
  readonly warnings: readonly string[];
  /** The file as it was named; undefined when there is none. */
  readonly file: string | undefined;
}

/** A configuration is a page or two; what is larger is another file. */
const MAX_FILE_BYTES = 1024 * 1024;

/**
 * Reads `registry:2`'s configuration file and its `REGISTRY_*` variables, which override it. Without `file` the
 * variable `REGISTRY_CONFIGURATION_PATH` names it; without both, the defaults serve this machine only.
 * @throws ConfigError and nothing else: the file cannot be read, is not YAML, or asks for what cannot be
 */
export async function loadConfig(options: { file?: string; env: Environment }): Promise<LoadedConfig> {
  const file = options.file ?? (options.env[PATH_VARIABLE] || undefined);
  const findings = new Findings(file);
  const root =
    file === undefined ? emptyMap({ line: 1, column: 1 }) : readTree(await readText(file), findings);
  if (file !== undefined) checkVersion(root, findings);
  applyEnvironment(root, options.env, findings);
  for (const name of SCALAR_FORMS) expandScalarForm(root, name);
  checkKeys(root, findings);
  const parsed = parseFile(root, findings);
  const config = effectiveConfig(parsed, root, file !== undefined, findings);
  findings.throwIfFailed();
  return { config, warnings: findings.warnings(), file };
}

async function readText(file: string): Promise<string> {
  try {
    const { size } = await stat(file);
    if (size > MAX_FILE_BYTES) throw new RangeError('it is larger than 1 MiB');
    return new TextDecoder('utf-8', { fatal: true }).decode(await readFile(file));
  } catch (error) {
    throw new ConfigError([`${visible(file)}: cannot be read: ${reasonOf(error)}`], [], error);
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EISDIR: 'it is a folder',
  ENOTDIR: 'a part of the path is no folder',
  EACCES: 'permission denied',
  // The runtimes do not agree on the code for text that is not UTF-8.
  ERR_ENCODING_INVALID_ENCODED_DATA: 'it is not UTF-8 text',
  ERR_INVALID_ARG_VALUE: 'no file can have this name',
};

function reasonOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const reason = REASONS[code] ?? (error instanceof TypeError ? 'it is not UTF-8 text' : undefined);
  return reason ?? visible(error instanceof Error ? error.message : String(error));
}

/** The file's tree. What is no YAML ends here, since nothing can be said about the settings. */
function readTree(text: string, findings: Findings): MapNode {
  const root = parseYaml(text, findings);
  findings.throwIfFailed();
  if (root?.kind === 'map') return root;
  const place = { line: 1, column: 1 };
  if (root !== undefined && !isNull(root))
    findings.problem(root.place, 'expected settings such as "version: 0.1"');
  findings.throwIfFailed();
  return emptyMap(place);
}

/** Before the rest: other programs' files would only give a page of warnings. */
function checkVersion(root: MapNode, findings: Findings): void {
  const version = nodeAt(root, ['version']);
  if (version === undefined || isNull(version)) {
    findings.problemAt(root, ['version'], 'is missing; begin the file with "version: 0.1"');
  }
}

function expandScalarForm(root: MapNode, name: string): void {
  const entry = root.entries.get(name);
  const section = entry === undefined ? undefined : sectionOf(entry.value, [name]);
  if (entry !== undefined && section !== undefined) root.entries.set(name, { ...entry, value: section });
}

/** Reads the settings. Wrong ones are told and left out, so that the others can be looked at together. */
function parseFile(root: MapNode, findings: Findings): File {
  const input = schemaInput(root);
  const result = v.safeParse(fileSchema, input);
  if (result.success) return result.output;
  for (const issue of result.issues) {
    const path: Path = (issue.path ?? []).map(({ key }) => (typeof key === 'number' ? key : String(key)));
    const isMissing = issue.type === 'object' && issue.received === 'undefined';
    findings.problemAt(root, path, isMissing ? 'is missing' : issue.message);
    leaveOut(input, path);
  }
  const rest = v.safeParse(fileSchema, input);
  if (rest.success) return rest.output;
  // A value that stands for a whole section (`alice: plaintext`) goes with the section: nothing else must be told of it.
  for (const { path = [] } of rest.issues) leaveOut(input, [String(path[0]?.key)]);
  const last = v.safeParse(fileSchema, input);
  return last.success ? last.output : {};
}

/** Removes the setting at the path from the schema's input; of a list the whole. */
function leaveOut(input: unknown, path: Path): void {
  const depth = path.findIndex((key) => typeof key === 'number');
  const setting = depth === -1 ? path : path.slice(0, depth);
  let section = input;
  for (const key of setting.slice(0, -1)) {
    if (typeof section !== 'object' || section === null) return;
    section = Reflect.get(section, key);
  }
  const last = setting.at(-1);
  if (typeof section === 'object' && section !== null && last !== undefined) {
    Reflect.deleteProperty(section, last);
  }
}
