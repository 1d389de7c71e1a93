/**
 * Builds `dist/`, by `npm run build`:
 *
 *   dist/entrepot               one executable for this machine's system and processor, with Bun inside
 *   dist/node/main.js           the same program for Node, with the threads' files and chunks beside it
 *
 * The version is the one of package.json, which the program imports and the bundler copies.
 *
 * Each thread (hash-worker, password-worker) is an entry point of its own, and both builds put all entry points into
 * one folder. So `./hash-worker.EXT` beside the importing file is right everywhere, if EXT is `ts` in the sources and
 * `js` in what is built: new URL(`./hash-worker.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url).
 */
import { spawnSync } from 'node:child_process';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const PROJECT = join(import.meta.dirname, '..');
const DIST = join(PROJECT, 'dist');
/** Built here and renamed, so that nobody runs half a build. */
const STAGING = join(DIST, '.building');
const ENTRIES = ['src/main.ts', 'src/store/hash-worker.ts', 'src/auth/password-worker.ts'];
const ONE_FOLDER = ['--entry-naming', '[name].[ext]'];

function run(command: string, args: readonly string[], cwd = PROJECT): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (error === undefined && status === 0) return stdout;
  process.stderr.write(`${stdout}${stderr}`);
  throw new Error(`${[command, ...args].join(' ')} failed: ${error?.message ?? `exit code ${status}`}`);
}

function buildExecutable(): void {
  // Bytecode needs the module format: as a script, Bun 1.4.4 fails on a top-level await.
  const form = ['--minify', '--bytecode', '--format=esm', '--production'];
  // Otherwise the folder that the server is started in could slip variables, and even code, into it.
  const shut = ['--no-compile-autoload-dotenv', '--no-compile-autoload-bunfig'];
  const outfile = join(STAGING, 'entrepot');
  run(process.execPath, [
    'build',
    '--compile',
    ...form,
    ...shut,
    ...ONE_FOLDER,
    ...ENTRIES,
    '--outfile',
    outfile,
  ]);
}

async function buildForNode(manifest: { readonly version: string }): Promise<void> {
  const outdir = join(STAGING, 'node');
  const flags = ['--target=node', '--format=esm', '--splitting', '--minify-syntax', '--production'];
  run(process.execPath, ['build', ...flags, ...ONE_FOLDER, ...ENTRIES, '--outdir', outdir]);
  // So that the folder runs wherever it is copied to.
  const description = { name: 'entrepot', version: manifest.version, type: 'module', private: true };
  await writeFile(join(outdir, 'package.json'), `${JSON.stringify(description, null, 2)}\n`);
}

async function install(name: string): Promise<void> {
  const place = join(DIST, name);
  await rm(place, { recursive: true, force: true });
  await rename(join(STAGING, name), place);
}

/** A build that does not even tell its version is no build. */
function verify(version: string, command: string, args: readonly string[]): void {
  const told = run(command, [...args, '--version'], DIST).trim();
  if (told !== version) throw new Error(`${command} ${args.join(' ')} says "${told}" and not ${version}`);
}

const manifest = JSON.parse(await readFile(join(PROJECT, 'package.json'), 'utf8')) as { version: string };
await rm(STAGING, { recursive: true, force: true });
await mkdir(STAGING, { recursive: true });
buildExecutable();
await buildForNode(manifest);
verify(manifest.version, join(STAGING, 'entrepot'), []);
verify(manifest.version, 'node', [join(STAGING, 'node/main.js')]);
await install('entrepot');
await install('node');
await rm(STAGING, { recursive: true });
process.stdout.write(`dist/entrepot and dist/node/main.js: version ${manifest.version}\n`);
