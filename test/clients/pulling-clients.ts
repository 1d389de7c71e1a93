/** Real clients that pull an upstream's images through Entrepot, each in the way that is usual for it. */
import { createHash } from 'node:crypto';
import { appendFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Finished, requireTool } from '../harness/tools.ts';
import type { ClientSandbox } from './client-sandbox.ts';
import { startContainerd } from './containerd.ts';
import { startDockerd } from './dockerd.ts';

/** The clients: skopeo, buildah and docker by the name below `proxy/`, podman and containerd by a mirror. */
export const CLIENTS = ['skopeo', 'podman', 'buildah', 'docker', 'ctr'] as const;
export type ClientName = (typeof CLIENTS)[number];

/** Pulls onto a machine that has nothing yet, and tells how it went. */
export interface PullingClients {
  /**
   * Pulls `name` (`lib/app:1`) of an upstream.
   * @returns the manifest's digest as the client says; undefined when it failed, or was ended after `limit` milliseconds
   * @throws Error when the client says that it has something which it has not
   */
  pull(client: ClientName, upstream: string, name: string, limit?: number): Promise<string | undefined>;
  close(): Promise<void>;
}

/** Starts the daemons that some of them need, and tells all of them where the upstreams' mirror is. */
export async function openPullingClients(
  sandbox: ClientSandbox,
  upstreams: readonly string[],
): Promise<PullingClients> {
  for (const tool of ['skopeo', 'podman', 'buildah', 'docker', 'ctr']) requireTool(tool);
  const { workspace, registry } = sandbox;
  const hosts = workspace.join('certs.d');
  for (const upstream of upstreams) {
    const mirror = `${registry.host}/proxy/${upstream}`;
    const lines = ['', '[[registry]]', `location = "${upstream}"`, '[[registry.mirror]]'];
    const entry = [...lines, `location = "${mirror}"`, 'insecure = true', ''].join('\n');
    await appendFile(sandbox.env['CONTAINERS_REGISTRIES_CONF'] ?? '', entry);
    await mkdir(join(hosts, upstream), { recursive: true });
    // Nothing is to come from anywhere else: the server behind the mirror is a port where nobody is.
    const toml = `server = "http://127.0.0.1:1"\n[host."${registry.url}"]\n  capabilities = ["pull", "resolve"]\n`;
    await writeFile(join(hosts, upstream, 'hosts.toml'), toml);
  }
  const containerd = await startContainerd(sandbox, 'containerd');
  // A pull that fails is to fail at once: how patient the daemon is is not our concern.
  const dockerd = await startDockerd(sandbox, 'docker', { 'max-download-attempts': 1 });
  let count = 0;

  const here = (upstream: string, name: string) => `${registry.host}/proxy/${upstream}/${name}`;
  /** A command's output; undefined when it failed or took too long. */
  const attempt = async (run: () => Promise<Finished>) =>
    await run().then(
      ({ stdout }) => stdout.trim(),
      () => undefined,
    );
  const digestIn = (text: string) => /sha256:[0-9a-f]{64}/.exec(text)?.[0];

  const pullers: Record<
    ClientName,
    (upstream: string, name: string, timeout: number) => Promise<string | undefined>
  > = {
    skopeo: async (upstream, name, timeout) => {
      const folder = workspace.join(`pulled-${(count += 1)}`);
      const args = ['--insecure-policy', 'copy', `docker://${here(upstream, name)}`, `dir:${folder}`];
      const done = await attempt(() => sandbox.run('skopeo', args, { timeout }));
      return done === undefined ? undefined : await checkedFolder(folder);
    },
    podman: async (upstream, name, timeout) => {
      const storage = workspace.join(`podman-${(count += 1)}`);
      const place = ['--root', storage, '--runroot', `${storage}-run`, '--tmpdir', `${storage}-tmp`];
      // The limit is for the pull: what asks this machine alone has time.
      const podman = async (...args: string[]) =>
        await sandbox.run('podman', [...place, ...args], args[0] === 'pull' ? { timeout } : {});
      const full = `${upstream}/${name}`;
      if ((await attempt(() => podman('pull', full))) === undefined) return undefined;
      return digestIn((await podman('image', 'inspect', '--format', '{{.Digest}}', full)).stdout);
    },
    buildah: async (upstream, name, timeout) => {
      const storage = workspace.join(`buildah-${(count += 1)}`);
      const place = ['--root', storage, '--runroot', `${storage}-run`];
      const buildah = async (...args: string[]) =>
        await sandbox.run('buildah', [...place, ...args], args[0] === 'pull' ? { timeout } : {});
      const full = here(upstream, name);
      if ((await attempt(() => buildah('pull', full))) === undefined) return undefined;
      const told = await buildah('inspect', '--type', 'image', '--format', '{{.FromImageDigest}}', full);
      return digestIn(told.stdout);
    },
    docker: async (upstream, name, timeout) => {
      const full = here(upstream, name);
      await dockerd.docker(['rmi', '--force', full], { mayFail: true });
      if ((await attempt(() => dockerd.docker(['pull', full], { timeout }))) === undefined) return undefined;
      const told = await dockerd.docker(['image', 'inspect', '--format', '{{.RepoDigests}}', full]);
      return digestIn(told.stdout);
    },
    ctr: async (upstream, name, timeout) => {
      const full = `${upstream}/${name}`;
      // Its content too: another image's layers would stand in for those of this one.
      await attempt(() => containerd.ctr('images', 'rm', '--sync', full));
      const seconds = `${Math.ceil(timeout / 1000)}s`;
      const args = ['--timeout', seconds, 'images', 'pull', '--hosts-dir', hosts, full];
      if ((await attempt(() => containerd.ctr(...args))) === undefined) return undefined;
      return digestIn((await containerd.ctr('images', 'ls', `name==${full}`)).stdout);
    },
  };

  return {
    pull: async (client, upstream, name, limit = 120_000) => await pullers[client](upstream, name, limit),
    close: async () => {
      await containerd.daemon.stop();
      await dockerd.stop();
      await unmountBelow(sandbox);
    },
  };
}

/** podman and buildah leave their storage mounted on itself, and the folder could not be removed. */
async function unmountBelow({ workspace, run }: ClientSandbox): Promise<void> {
  const mounts = await readFile('/proc/self/mounts', 'utf8');
  const places = mounts.split('\n').flatMap((line) => line.split(' ')[1] ?? []);
  const below = places.filter((place) => place.startsWith(`${workspace.path}/`));
  for (const place of below.sort().reverse()) await run('umount', [place], { mayFail: true });
}

/**
 * The digest of the manifest in a folder that skopeo filled.
 * @throws Error when a blob there has not the digest that it is named by
 */
async function checkedFolder(folder: string): Promise<string> {
  const sum = async (file: string) =>
    createHash('sha256')
      .update(await readFile(join(folder, file)))
      .digest('hex');
  for (const file of await readdir(folder)) {
    if (!/^[0-9a-f]{64}$/.test(file)) continue;
    const found = await sum(file);
    if (found !== file) throw new Error(`${folder}/${file} has in truth the digest ${found}`);
  }
  return `sha256:${await sum('manifest.json')}`;
}
