import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { toolPath } from './command.ts';
import type { Environment } from './command.ts';
import { freePort } from './server.ts';
import type { ServerPlan } from './server.ts';
import { projectRoot } from './options.ts';
import type { Certificate } from './certificate.ts';

/** Where a server keeps its things and, for TLS, what it shows. */
export interface Placement {
  /** The folder with the content; made if absent. */
  readonly root: string;
  /** A folder for the configuration and the log. */
  readonly state: string;
  readonly certificate?: Certificate;
  /** Further lines of the configuration: accounts and rights. */
  readonly logins?: string;
  /** Further lines that ask nobody for a login. */
  readonly more?: string;
}

/** What is unusual about a server's start. */
export interface Circumstances {
  /** Put before the command: a tracer. */
  readonly prefix?: Command;
  readonly environment?: Environment;
}

type Command = readonly [string, ...string[]];

function prefixed(how: Circumstances, command: Command): Command {
  return how.prefix === undefined ? command : [...how.prefix, ...command];
}

/** The executable that `npm run build` makes. */
const executable = join(projectRoot, 'dist', 'entrepot');

/** How Entrepot is started from source, or what ENTREPOT_BENCH_COMMAND puts in its place. */
function entrepotCommand(): Command {
  const replaced = process.env['ENTREPOT_BENCH_COMMAND']?.trim().split(/\s+/);
  const [command, ...args] = replaced ?? [];
  if (command !== undefined && command !== '') return [command, ...args];
  return [join(projectRoot, 'node_modules', '.bin', 'bun'), join(projectRoot, 'src', 'main.ts'), 'serve'];
}

/** The same file for both registries: the one of `registry:2`'s image, with folder, address and deletion set. */
function registryConfig(place: Placement, port: number): string {
  const tls =
    place.certificate === undefined
      ? ''
      : `  tls:\n    certificate: ${place.certificate.certificateFile}\n    key: ${place.certificate.keyFile}\n`;
  return `version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: ${place.root}
  delete:
    enabled: true
http:
  addr: 127.0.0.1:${port}
  secret: only-for-the-bench
  headers:
    X-Content-Type-Options: [nosniff]
${tls}${place.logins ?? ''}${place.more ?? ''}`;
}

async function registryPlan(
  name: string,
  command: Command,
  place: Placement,
  how: Circumstances = {},
): Promise<ServerPlan> {
  const port = await freePort();
  const config = join(place.state, `${name}-${port}.yml`);
  await mkdir(place.root, { recursive: true });
  await writeFile(config, registryConfig(place, port));
  return {
    name,
    command: prefixed(how, [...command, config]),
    origin: `${place.certificate === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    root: place.root,
    logFile: join(place.state, `${name}-${port}.log`),
    readyPath: place.logins === undefined ? '/v2/' : '/',
    ...(place.certificate === undefined ? {} : { ca: place.certificate.pem }),
    ...(how.environment === undefined ? {} : { environment: how.environment }),
  };
}

/** Entrepot, run from source. */
export function entrepot(place: Placement, how: Circumstances = {}): Promise<ServerPlan> {
  return registryPlan('entrepot', entrepotCommand(), place, how);
}

/** Entrepot's single executable, or undefined when it is not built. */
export async function entrepotExecutable(place: Placement): Promise<ServerPlan | undefined> {
  return existsSync(executable) ? registryPlan('executable', [executable, 'serve'], place) : undefined;
}

/** Debian's `docker-registry`. */
export function dockerRegistry(place: Placement, how: Circumstances = {}): Promise<ServerPlan> {
  return registryPlan('docker-registry', [toolPath('docker-registry'), 'serve'], place, how);
}

/** nginx before another server, which answers no faster than a link of so many MiB a second would. */
export async function link(place: Placement, origin: string, mebibytes: number): Promise<ServerPlan> {
  const port = await freePort();
  const folder = join(place.state, `link-${port}`);
  await mkdir(folder, { recursive: true });
  const config = join(folder, 'nginx.conf');
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `${kind}_temp_path ${folder}/${kind};`,
  );
  const user = process.getuid?.() === 0 ? 'user root;' : '';
  await writeFile(
    config,
    `${user} daemon off; pid ${folder}/pid; error_log ${folder}/error.log;
events { worker_connections 512; }
http {
  access_log off; ${temporary.join(' ')}
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass ${origin}; proxy_http_version 1.1; proxy_set_header Host $host:$server_port;
      proxy_max_temp_file_size 0; limit_rate ${mebibytes}m;
    }
  }
}
`,
  );
  return {
    name: `link of ${mebibytes} MiB/s`,
    command: [toolPath('nginx'), '-e', join(folder, 'error.log'), '-c', config],
    origin: `http://127.0.0.1:${port}`,
    root: place.root,
    logFile: join(folder, 'output.log'),
    readyPath: '/v2/',
  };
}

/** nginx with `sendfile`, a worker for each core, and its access log on, as the registries have theirs. */
export async function nginx(place: Placement): Promise<ServerPlan> {
  const port = await freePort();
  const folder = join(place.state, `nginx-${port}`);
  await mkdir(folder, { recursive: true });
  const config = join(folder, 'nginx.conf');
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `${kind}_temp_path ${folder}/${kind};`,
  );
  const { certificate } = place;
  const tls =
    certificate === undefined
      ? ''
      : `ssl_certificate ${certificate.certificateFile}; ssl_certificate_key ${certificate.keyFile};`;
  // As root its workers would become `nobody`, who may not read a private temporary folder.
  const user = process.getuid?.() === 0 ? 'user root;' : '';
  await writeFile(
    config,
    `${user} worker_processes auto; daemon off; pid ${folder}/pid; error_log ${folder}/error.log;
events { worker_connections 512; }
http {
  sendfile on; tcp_nopush on; access_log ${folder}/access.log;
  ${temporary.join(' ')}
  default_type application/octet-stream;
  server {
    listen 127.0.0.1:${port}${certificate === undefined ? '' : ' ssl'}; ${tls}
    location = /ready { return 200 'ready'; }
    location / { root ${place.root}; }
  }
}
`,
  );
  return {
    name: 'nginx',
    command: [toolPath('nginx'), '-e', join(folder, 'error.log'), '-c', config],
    origin: `${certificate === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    root: place.root,
    logFile: join(folder, 'output.log'),
    readyPath: '/ready',
    ...(certificate === undefined ? {} : { ca: certificate.pem }),
  };
}
