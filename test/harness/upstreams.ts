/** Debian's `docker-registry` in the forms in which upstreams are met: open, with TLS, with htpasswd, with tokens. */
import { readFile, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { hash } from 'bcryptjs';
import { type ConfigObject, writeConfig } from './config-file.ts';
import { type Daemon, startDaemon } from './daemon.ts';
import { freePort } from './ports.ts';
import { startDockerRegistry } from './docker-registry.ts';
import { type FaultProxy, type FaultProxyTls, startFaultProxy } from './fault-proxy.ts';
import type { LayoutImage } from './oci-layout.ts';
import { ACCOUNT, startTokenServer, type TokenServer } from './token-server.ts';
import { requireTool, run } from './tools.ts';
import { createWorkspace, type Workspace } from './workspace.ts';

/** The forms. `tls` is signed by an authority of the test's own; `htpasswd` and `token` want an account. */
export const UPSTREAM_FORMS = ['plain', 'tls', 'htpasswd', 'token'] as const;
export type UpstreamForm = (typeof UPSTREAM_FORMS)[number];

/** A running registry with a fault proxy before it. */
export interface UpstreamRegistry {
  readonly form: UpstreamForm;
  /** What stands between it and whoever pulls. */
  readonly front: FaultProxy;
  /** The registry itself, past the front: `http://127.0.0.1:PORT`, or `https://…`. */
  readonly direct: string;
  /** Its entry in `proxy.upstreams`, by the way through the front: all but the name; tags are never fresh, and it has two minutes to answer. */
  readonly settings: ConfigObject;
  /** Pushes an image with all that belongs to it, past the front. `name` is such as `lib/app:1`. */
  seed(image: LayoutImage, name: string): Promise<void>;
  /** Ends the registry and closes the front: connections are refused from now on. */
  stop(): Promise<void>;
  /** Stops it and removes what it left. */
  dispose(): Promise<void>;
}

/** Starts one. @throws Error with its logs when it does not answer, or that names a tool that is missing */
export async function startUpstreamRegistry(form: UpstreamForm): Promise<UpstreamRegistry> {
  const workspace = await createWorkspace(`upstream-${form}`);
  const tokens = form === 'token' ? await startTokenServer() : undefined;
  const tls = form === 'tls' ? await makeCertificates(workspace) : undefined;
  const registry =
    tls === undefined
      ? await startDockerRegistry({ config: await accessOf(form, workspace, tokens) })
      : await startSecureRegistry(workspace, tls);
  const front = await startFaultProxy(registry.url, tls);
  const stop = async () => {
    await front.refuse();
    if (registry.exitCode() === undefined) await registry.stop();
  };
  return {
    form,
    front,
    direct: registry.url,
    settings: {
      // A token service is trusted by its domain, and addresses have none: so this one goes by its name.
      url: form === 'token' ? front.url.replace('127.0.0.1', 'localhost') : front.url,
      tagttl: '0s',
      timeout: '2m',
      ...(form === 'tls' ? { ca: workspace.join('ca.pem') } : {}),
      ...(form === 'htpasswd' || form === 'token' ? ACCOUNT : {}),
    },
    seed: async (image, name) => {
      const target = `docker://${new URL(registry.url).host}/${name}`;
      const credentials = ['--dest-creds', `${ACCOUNT.username}:${ACCOUNT.password}`];
      const how = ['--all', '--dest-tls-verify=false', '--preserve-digests', ...credentials];
      await run('skopeo', ['--insecure-policy', 'copy', ...how, image.reference, target]);
    },
    stop,
    dispose: async () => {
      await stop();
      await front.close();
      await tokens?.close();
      await registry.dispose();
      await workspace.remove();
    },
  };
}

async function accessOf(
  form: UpstreamForm,
  workspace: Workspace,
  tokens: TokenServer | undefined,
): Promise<ConfigObject> {
  if (tokens !== undefined) {
    // The registry takes keys from certificates only, and finds them by libtrust's name of the key or by a chain.
    const bundle = workspace.join('tokens.pem');
    const key = workspace.join('tokens.key');
    await writeFile(key, tokens.privateKey);
    await openssl('req', '-x509', '-key', key, '-subj', '/CN=tokens', '-days', '2', '-out', bundle);
    tokens.certify(await readFile(bundle, 'utf8'));
    const { realm, service, issuer } = tokens;
    return { auth: { token: { realm, service, issuer, rootcertbundle: bundle } } };
  }
  if (form !== 'htpasswd') return {};
  const path = workspace.join('htpasswd');
  await writeFile(path, `${ACCOUNT.username}:${await hash(ACCOUNT.password, 4)}\n`);
  return { auth: { htpasswd: { realm: 'upstream', path } } };
}

/** A certificate for 127.0.0.1, and the authority that signed it. */
async function makeCertificates(workspace: Workspace): Promise<FaultProxyTls> {
  const place = (name: string) => workspace.join(name);
  const made = (name: string) => {
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
    return ['req', '-x509', ...key, '-keyout', place(`${name}.key`), '-out', place(`${name}.pem`)];
  };
  await openssl(...made('ca'), '-subj', '/CN=authority');
  const signer = ['-CA', place('ca.pem'), '-CAkey', place('ca.key')];
  const extension = (text: string) => ['-addext', text];
  const names = [...extension('subjectAltName=IP:127.0.0.1'), ...extension('basicConstraints=CA:FALSE')];
  await openssl(...made('server'), '-subj', '/CN=upstream', ...signer, ...names);
  const text = (name: string) => readFile(place(name), 'utf8');
  return { key: await text('server.key'), cert: await text('server.pem'), ca: await text('ca.pem') };
}

async function openssl(...args: string[]): Promise<void> {
  await run('openssl', args);
}

interface StoppableRegistry extends Daemon {
  readonly url: string;
  dispose(): Promise<void>;
}

/** The harness asks by plain HTTP whether a registry answers; this one is asked by TLS. */
async function startSecureRegistry(workspace: Workspace, { ca }: FaultProxyTls): Promise<StoppableRegistry> {
  const host = `127.0.0.1:${await freePort()}`;
  const file = workspace.join('config.yml');
  const tls = { certificate: workspace.join('server.pem'), key: workspace.join('server.key') };
  await writeConfig(file, { http: { tls } }, host, await workspace.folder('data'));
  const url = `https://${host}`;
  const ready = () =>
    new Promise<boolean>((resolve) => {
      const question = request(`${url}/v2/`, { ca, agent: false, timeout: 1000 }, (answer) => {
        answer.resume();
        answer.once('end', () => resolve(answer.statusCode === 200));
      });
      question.once('timeout', () => question.destroy());
      question.once('error', () => resolve(false));
      question.end();
    });
  const daemon = await startDaemon(requireTool('docker-registry'), ['serve', file], { ready });
  return {
    ...daemon,
    url,
    dispose: async () => {
      if (daemon.exitCode() === undefined) await daemon.stop();
    },
  };
}
