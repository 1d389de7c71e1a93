import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Environment variables by name. */
export type Environment = Readonly<Record<string, string>>;

/** What a finished command gave. `seconds` is from the spawn to its end. */
export interface CommandResult {
  readonly stdout: string;
  readonly seconds: number;
}

/** The Debian package that brings each tool the bench calls. */
const PACKAGES: Readonly<Record<string, string>> = {
  'docker-registry': 'docker-registry',
  nginx: 'nginx-light',
  wrk: 'wrk',
  curl: 'curl',
  openssl: 'openssl',
  strace: 'strace',
  sync: 'coreutils',
  dd: 'coreutils',
};

/**
 * The path of a tool, looked for in PATH and in the sbin folders (nginx is there, and a plain user's PATH has none).
 * @throws Error that names the apt command when it is not installed.
 */
export function toolPath(tool: string): string {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  for (const folder of folders) {
    const path = join(folder, tool);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      continue;
    }
  }
  throw new Error(
    `${tool} is not installed: apt-get install -y --no-install-recommends ${PACKAGES[tool] ?? tool}`,
  );
}

/** Every command under way. */
const running = new Set<ChildProcess>();

/** Ends every command under way at once. Safe in an `exit` listener. */
export function killCommands(): void {
  for (const child of running) child.kill('SIGKILL');
}

/**
 * Runs a command to its end, with `environment` added to the bench's own.
 * @throws Error with its arguments and its last words when it does not exit with 0.
 */
export function run(
  command: string,
  args: readonly string[],
  environment: Environment = {},
): Promise<CommandResult> {
  const path = command.includes('/') ? command : toolPath(command);
  const begin = performance.now();
  return new Promise((resolve, reject) => {
    const child = spawn(path, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...environment },
    });
    running.add(child);
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.once('error', reject);
    child.once('close', (code, signal) => {
      running.delete(child);
      const seconds = (performance.now() - begin) / 1000;
      if (code === 0) resolve({ stdout, seconds });
      else
        reject(
          new Error(
            `${command} ${args.join(' ')}: ended with ${signal ?? code}: ${(stderr || stdout).trim()}`,
          ),
        );
    });
  });
}
