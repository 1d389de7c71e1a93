import { writeFile } from 'node:fs/promises';
import { type RecordingProxy, startRecordingProxy } from '../harness/recording-proxy.ts';
import { startRegistryUnderTest } from '../harness/registry-under-test.ts';
import type { RegistryOptions, RunningRegistry } from '../harness/running-registry.ts';
import { type Finished, run, type RunOptions } from '../harness/tools.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';

/** A registry, a folder for a client's state, and an environment that keeps the client within that folder. */
export interface ClientSandbox {
  readonly registry: RunningRegistry;
  /** The way to the same registry through a proxy that notes every request. */
  readonly proxy: RecordingProxy;
  readonly workspace: Workspace;
  readonly env: Readonly<Record<string, string>>;
  /** Runs a command in the sandbox's environment and folder; `env` of the options is added. */
  run(command: string, args: readonly string[], options?: RunOptions): Promise<Finished>;
  /** Ends the registry and the proxy and removes the folder. */
  close(): Promise<void>;
}

/** Starts a registry for the tests of one client. Its addresses count as insecure for skopeo, buildah and podman. */
export async function openClientSandbox(
  label: string,
  options: RegistryOptions = {},
): Promise<ClientSandbox> {
  const workspace = await createWorkspace(label);
  const registry = await startRegistryUnderTest(options);
  const proxy = await startRecordingProxy(registry.url);
  const env = {
    HOME: await workspace.folder('home'),
    TMPDIR: await workspace.folder('tmp'),
    XDG_DATA_HOME: await workspace.folder('xdg', 'data'),
    XDG_CONFIG_HOME: await workspace.folder('home', '.config'),
    XDG_RUNTIME_DIR: await workspace.folder('xdg', 'run'),
    CONTAINERS_REGISTRIES_CONF: workspace.join('registries.conf'),
    CONTAINERS_CONF: workspace.join('containers.conf'),
    REGISTRY_AUTH_FILE: workspace.join('auth.json'),
  };
  await workspace.folder('home', '.config', 'containers');
  const insecure = [registry.host, proxy.host].map(
    (host) => `[[registry]]\nlocation = "${host}"\ninsecure = true\n`,
  );
  // skopeo knows no variable for this file, only the user's own place.
  for (const path of [
    env.CONTAINERS_REGISTRIES_CONF,
    workspace.join('home', '.config', 'containers', 'registries.conf'),
  ]) {
    await writeFile(path, insecure.join('\n'));
  }
  // Root without CAP_SYS_RESOURCE can raise no limit, crun refuses mixed cgroup hierarchies, and there is no systemd.
  await writeFile(
    env.CONTAINERS_CONF,
    [
      '[containers]',
      'default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]',
      '[engine]',
      'runtime = "runc"',
      'cgroup_manager = "cgroupfs"',
      'events_logger = "file"',
      '',
    ].join('\n'),
  );
  await writeFile(env.REGISTRY_AUTH_FILE, '{}');
  const cwd = await workspace.folder('work');
  return {
    registry,
    proxy,
    workspace,
    env,
    run: async (command, args, runOptions = {}) =>
      await run(command, args, {
        cwd,
        ...runOptions,
        env: { ...env, ...runOptions.env },
      }),
    close: async () => {
      await proxy.close();
      await registry.dispose();
      await workspace.remove();
    },
  };
}
