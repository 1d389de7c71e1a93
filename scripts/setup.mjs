/**
 * Makes a fresh clone ready, by Node alone: `npm start`, `npm test` and the others call it first.
 *
 *   node scripts/setup.mjs            npm packages, and Bun's binary
 *   node scripts/setup.mjs --tests    also the Debian packages that the tests and the bench need
 *
 * Says nothing and costs some 40 ms when there is nothing to do.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PROJECT = fileURLToPath(new URL('..', import.meta.url));

/** How Debian calls processors in paths, where that is not as Node does. */
const TRIPLET = { x64: 'x86_64', arm64: 'aarch64' };

/** Commands that the tests run, and the Debian package that brings each. */
const TEST_TOOLS = {
  'docker-registry': 'docker-registry',
  nginx: 'nginx-light',
  haproxy: 'haproxy',
  caddy: 'caddy',
  openssl: 'openssl',
  curl: 'curl',
  skopeo: 'skopeo',
  umoci: 'umoci',
  busybox: 'busybox-static',
  buildah: 'buildah',
  podman: 'podman',
  crun: 'crun',
  runc: 'runc',
  conmon: 'conmon',
  '/usr/lib/podman/netavark': 'netavark',
  containerd: 'containerd',
  ctr: 'containerd',
  '/usr/bin/docker': 'docker.io',
  dockerd: 'docker.io',
  wrk: 'wrk',
  ab: 'apache2-utils',
  strace: 'strace',
  pebble: 'pebble',
  'pebble-challtestsrv': 'pebble',
  slapd: 'slapd',
  ldapadd: 'ldap-utils',
  git: 'git',
  ip: 'iproute2',
  sysctl: 'procps',
  'dbus-daemon': 'dbus',
  'avahi-daemon': 'avahi-daemon',
  'avahi-browse': 'avahi-utils',
  // A library for names of the network, with no command of its own.
  [`/usr/lib/${TRIPLET[process.arch] ?? process.arch}-linux-gnu/libnss_mdns.so.2`]: 'libnss-mdns',
};

/** Ends with one line that says what is wrong and what to do. */
function fail(message) {
  process.stderr.write(`setup: ${message}\n`);
  process.exit(1);
}

function run(command, args, options = {}) {
  process.stderr.write(`setup: ${[command, ...args].join(' ')}\n`);
  // Its output goes to standard error, as standard output may belong to the command that comes after.
  const { status, error } = spawnSync(command, args, { cwd: PROJECT, stdio: ['ignore', 2, 2], ...options });
  if (error !== undefined) fail(`${command} could not be run: ${error.message}`);
  return status === 0;
}

function readJson(path) {
  try {
    return JSON.parse(readFileSync(join(PROJECT, path), 'utf8'));
  } catch {
    return undefined;
  }
}

/**
 * Whether node_modules holds what the lock file says. npm keeps its own record of what it installed, which is
 * better than a stamp of ours: it is right as well after an installation by hand.
 */
function packagesInstalled() {
  const wanted = readJson('package-lock.json');
  if (wanted === undefined) fail('there is no readable package-lock.json; restore it from git');
  const present = readJson('node_modules/.package-lock.json');
  if (present === undefined) return false;
  return Object.entries(wanted.packages).every(([path, entry]) => {
    if (path === '') return true;
    const found = present.packages[path];
    // Optional ones are left out where they are made for another system.
    if (found === undefined) return entry.optional === true;
    return found.version === entry.version && existsSync(join(PROJECT, path));
  });
}

function installPackages() {
  if (packagesInstalled()) return;
  if (!run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'])) {
    fail('npm ci failed; its own messages above say why');
  }
}

/** Where npm did not run Bun's install script (`ignore-scripts`), a small file stands in for the binary. */
function repairBun() {
  const binary = join(PROJECT, 'node_modules/bun/bin/bun.exe');
  const size = () => statSync(binary, { throwIfNoEntry: false })?.size ?? 0;
  if (size() > 1024 * 1024) return;
  const installed = run(process.execPath, ['node_modules/bun/install.js']);
  if (!installed || size() <= 1024 * 1024) {
    fail('Bun could not be installed: remove node_modules and run npm ci with network access');
  }
}

function isPresent(command) {
  const places = command.startsWith('/')
    ? [command]
    : [...(process.env.PATH ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin']
        .filter((folder) => folder !== '')
        .map((folder) => join(folder, command));
  return places.some((place) => {
    try {
      // Libraries are not executable.
      accessSync(place, place.includes('.so.') ? constants.R_OK : constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function missingPackages() {
  const missing = Object.entries(TEST_TOOLS).filter(([command]) => !isPresent(command));
  return [...new Set(missing.map(([, debianPackage]) => debianPackage))];
}

function installTestTools() {
  const missing = missingPackages();
  if (missing.length === 0) return;
  const install = ['install', '-y', '--no-install-recommends', ...missing];
  const command = `apt-get update && apt-get ${install.join(' ')}`;
  if (process.getuid?.() !== 0 || !isPresent('apt-get')) {
    fail(`the tests need Debian packages that are missing; as root: ${command}`);
  }
  // By the run level the packages' own services are not started: they would take ports that tests check.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  run('apt-get', ['update', '-qq'], { env });
  if (!run('apt-get', [install[0], '-qq', ...install.slice(1)], { env })) {
    fail(`the tests need Debian packages that could not be installed: ${command}`);
  }
  const still = missingPackages();
  if (still.length > 0) fail(`commands are still missing after the installation of: ${still.join(' ')}`);
}

if (Number(process.versions.node.split('.')[0]) < 20) {
  fail(`Node ${process.versions.node} is too old; Entrepot's scripts need Node 20 or newer`);
}
installPackages();
repairBun();
if (process.argv.includes('--tests')) installTestTools();
