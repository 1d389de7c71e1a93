/** What containerd's own configuration says about the folders in which its CRI plugin looks for registries. */

/** The plugin's section, as the versions of the file name it: containerd 1 reads up to 2, containerd 2 also 3. */
const SECTIONS = {
  upTo1: 'plugins.cri.registry',
  of2: '[plugins."io.containerd.grpc.v1.cri".registry]',
  since3: '[plugins."io.containerd.cri.v1.images".registry]',
} as const;

/** Where the folder has to be named in a file with this text, in words; `''` stands for a missing file. */
export function registrySection(toml: string): string {
  const version = versionOf(settingsIn(toml));
  if (version >= 3) return SECTIONS.since3;
  return version === 2
    ? SECTIONS.of2
    : `${SECTIONS.since3} with version = 3 (containerd 2), or ${SECTIONS.of2} with version = 2`;
}

/**
 * Whether the file names the folder where this version of it does: remarks and other sections do not count. Tables
 * that are written in one line (`registry = {…}`) are not looked into, nor the files of `imports`.
 */
export function namesFolder(toml: string, folder: string): boolean {
  const settings = settingsIn(toml);
  const version = versionOf(settings);
  const section = version >= 3 ? SECTIONS.since3 : version === 2 ? SECTIONS.of2 : SECTIONS.upTo1;
  const value = settings.get(plainName([...stepsOf(section.replaceAll(/[[\]]/g, '')), 'config_path']));
  // As `PATH` has them: containerd 2 names docker's folder too.
  const folders = /^(["'])([^"']*)\1$/.exec(value ?? '')?.[2]?.split(':') ?? [];
  return folders.some((named) => named.replace(/\/+$/, '') === folder);
}

function versionOf(settings: ReadonlyMap<string, string>): number {
  return Number(settings.get(plainName(['version'])) ?? 1);
}

/** The values of a file as they are typed, by the whole names of their keys. Values of several lines have only their first. */
function settingsIn(toml: string): ReadonlyMap<string, string> {
  const settings = new Map<string, string>();
  let section: readonly string[] = [];
  for (const line of toml.split(/\r?\n/)) {
    const table = /^\s*\[([^[].*?)\]\s*(?:#.*)?$/.exec(line)?.[1];
    if (table !== undefined) section = stepsOf(table);
    // One of a list of tables, which none of ours is.
    else if (/^\s*\[\[/.test(line)) section = ['[]'];
    const [, key, value] = SETTING.exec(line) ?? [];
    if (key !== undefined && value !== undefined)
      settings.set(plainName([...section, ...stepsOf(key)]), value);
  }
  return settings;
}

const STEP = String.raw`(?:"[^"]*"|'[^']*'|[\w-]+)`;

/** A key, dotted or not, and its value without the remark behind it. */
const SETTING = new RegExp(
  String.raw`^\s*(${STEP}(?:\s*\.\s*${STEP})*)\s*=\s*("[^"]*"|'[^']*'|[^#]*?)\s*(?:#.*)?$`,
);

function stepsOf(name: string): readonly string[] {
  return (name.match(new RegExp(STEP, 'g')) ?? []).map((step) => step.replaceAll(/^["']|["']$/g, ''));
}

/** One text for a name, however it was quoted. */
function plainName(steps: readonly string[]): string {
  return JSON.stringify(steps);
}
