import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Which Debian package brings a command, where the two are not called the same. */
const PACKAGE_OF: Readonly<Record<string, string>> = {
  ab: 'apache2-utils',
  'avahi-browse': 'avahi-utils',
  'avahi-resolve': 'avahi-utils',
  busybox: 'busybox-static',
  ctr: 'containerd',
  'dbus-daemon': 'dbus',
  docker: 'docker.io',
  dockerd: 'docker.io',
  ip: 'iproute2',
  ldapadd: 'ldap-utils',
  nginx: 'nginx-light',
  'pebble-challtestsrv': 'pebble',
  prlimit: 'util-linux',
  slapadd: 'slapd',
  sysctl: 'procps',
};

/** Debian's own CLI: a second, newer one may stand before it in PATH and lacks BuildKit without a plugin. */
const FIXED_PATH: Readonly<Record<string, string>> = { docker: '/usr/bin/docker' };

/**
 * The absolute path of a command that a test cannot do without.
 * @throws Error that names the apt-get command which installs it
 */
export function requireTool(name: string): string {
  const fixed = FIXED_PATH[name];
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin'];
  const candidates =
    fixed === undefined ? folders.filter(Boolean).map((folder) => join(folder, name)) : [fixed];
  const found = candidates.find(isExecutable);
  if (found !== undefined) return found;
  throw new Error(
    `${name} is not installed, and this test needs it: ` +
      `apt-get install -y --no-install-recommends ${PACKAGE_OF[name] ?? name}`,
  );
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** How much of a failed command's output an error shows, from its end, in characters. */
const SHOWN = 4000;

/** What a finished command left behind. */
export interface Finished {
  readonly stdout: string;
  readonly stderr: string;
  /** The exit code; 128 + the signal's number is not used: a signal is always a failure. */
  readonly code: number;
}

export interface RunOptions {
  readonly cwd?: string;
  /** Added to this process's environment; undefined removes a variable. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Milliseconds until the command and its children are killed and `run` throws; 240 000 unless told. */
  readonly timeout?: number;
  /** Written to standard input, which is closed afterwards. */
  readonly input?: string | Uint8Array;
  /** Return instead of throwing when the exit code is not 0. */
  readonly mayFail?: boolean;
}

/**
 * Runs a command to its end. A bare name is looked up by `requireTool`.
 * @throws Error with the command line and the end of its output when it fails, is killed or takes too long
 */
export async function run(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Finished> {
  const path = command.includes('/') ? command : requireTool(command);
  const limit = options.timeout ?? 240_000;
  const child = spawn(path, args, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
    // A group of its own, so that a time-out ends helpers of the command as well.
    detached: true,
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  // A command that ends without reading its input closes the pipe; its exit code tells what there is to tell.
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.input);

  let late = false;
  const timer = setTimeout(() => {
    late = true;
    if (child.pid !== undefined) killGroup(child.pid);
  }, limit);
  const outcome = await new Promise<{ code: number | null; signal: string | null }>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal }));
  }).finally(() => clearTimeout(timer));

  if (outcome.code !== null && (outcome.code === 0 || options.mayFail === true) && !late) {
    return { stdout, stderr, code: outcome.code };
  }
  const how = late
    ? `took longer than ${limit} ms`
    : outcome.code === null
      ? `was ended by ${outcome.signal}`
      : `exited with ${outcome.code}`;
  const said = `--- stdout\n${stdout.slice(-SHOWN)}\n--- stderr\n${stderr.slice(-SHOWN)}`;
  throw new Error(`${[path, ...args].join(' ')}\n${how}\n${said}`);
}

/** Kills a process group that this process started; one that is gone already is no error. */
export function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}
