import { request } from 'node:http';
import { request as secureRequest } from 'node:https';
import { mkdir } from 'node:fs/promises';
import { type ConfigObject, writeConfig } from './config-file.ts';
import { type Daemon, startDaemon } from './daemon.ts';
import { freePort } from './ports.ts';
import { createWorkspace } from './workspace.ts';

/** A registry that a test started, whichever one it is. */
export interface RunningRegistry extends Daemon {
  /** `http://127.0.0.1:PORT` (or `https://`), without a slash at the end. */
  readonly url: string;
  /** `127.0.0.1:PORT`, as it stands before a repository's name in an image reference. */
  readonly host: string;
  /** `storage.filesystem.rootdirectory`. */
  readonly dataDirectory: string;
  /** The configuration file, which a later server on the same data may be started with. */
  readonly configFile: string;
  /** Stops the server if it still runs, and removes what the harness made for it: the data too, unless the test gave the folder. */
  dispose(): Promise<void>;
}

export interface RegistryOptions {
  /** Laid over `defaultConfig`, or a whole file as text (see `writeConfig`). */
  readonly config?: ConfigObject | string;
  /** Use this file as it is instead of writing one; `port` and `dataDirectory` must be what it says. */
  readonly configFile?: string;
  /** Where the data is or shall be; a new temporary folder unless given. Never removed when given. */
  readonly dataDirectory?: string;
  /** The port on 127.0.0.1; a free one unless given. */
  readonly port?: number;
  /** `http.prefix` without a slash at its end, where the configuration sets one. */
  readonly prefix?: string;
  /** Whether the configuration makes it speak TLS. */
  readonly isTls?: boolean;
  /** Added to this process's environment; undefined removes a variable. */
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/**
 * Starts the registry that `commandLine` names with a configuration file, and waits until it answers GET /v2/.
 * @throws Error with its logs when it does not answer
 */
export async function startRegistry(
  label: string,
  options: RegistryOptions,
  commandLine: (configFile: string) => { command: string; args: readonly string[] },
): Promise<RunningRegistry> {
  const workspace = await createWorkspace(label);
  const dataDirectory = options.dataDirectory ?? workspace.join('data');
  await mkdir(dataDirectory, { recursive: true });
  // Another process can take a port between our asking for it and the server's binding it: then with another.
  for (let attempt = 1; ; attempt++) {
    const port = options.port ?? (await freePort());
    const host = `127.0.0.1:${port}`;
    const configFile = options.configFile ?? workspace.join('config.yml');
    if (options.configFile === undefined) {
      await writeConfig(configFile, options.config ?? {}, host, dataDirectory);
    }
    const { command, args } = commandLine(configFile);
    try {
      const daemon = await startDaemon(command, args, {
        cwd: workspace.path,
        env: { ...withoutRegistryVariables(), ...options.env },
        ready: () => answers(port, options.prefix ?? '', options.isTls ?? false),
      });
      return {
        ...daemon,
        url: `${options.isTls === true ? 'https' : 'http'}://${host}`,
        host,
        dataDirectory,
        configFile,
        dispose: async () => {
          if (daemon.exitCode() === undefined) await daemon.stop();
          await workspace.remove();
        },
      };
    } catch (error) {
      const taken = error instanceof Error && /EADDRINUSE|address already in use/i.test(error.message);
      if (taken && options.port === undefined && attempt < 3) continue;
      await workspace.remove();
      throw error;
    }
  }
}

/** `REGISTRY_*` variables of whoever runs the tests would change what the servers under test do. */
function withoutRegistryVariables(): Record<string, undefined> {
  const names = Object.keys(process.env).filter((name) => name.startsWith('REGISTRY_'));
  return Object.fromEntries(names.map((name) => [name, undefined]));
}

/** Whether anything speaks HTTP there. Each question has its own connection, which leaves no idle one open. */
async function answers(port: number, prefix: string, isTls: boolean): Promise<boolean> {
  return await new Promise((resolve) => {
    const question = (isTls ? secureRequest : request)(
      {
        host: '127.0.0.1',
        port,
        path: `${prefix}/v2/`,
        agent: false,
        timeout: 1000,
        rejectUnauthorized: false,
      },
      (answer) => {
        answer.resume();
        answer.once('end', () => resolve(answer.statusCode === 200 || answer.statusCode === 401));
        answer.once('error', () => resolve(false));
      },
    );
    question.once('timeout', () => question.destroy());
    question.once('error', () => resolve(false));
    question.end();
  });
}
