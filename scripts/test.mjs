/**
 * Runs the tests, by `npm test`. Its last line is `N passed, N failed`.
 *
 *   node scripts/test.mjs              everything: servers and commands in the form of the executable, which starts in a
 *                                      quarter of the time, and some of the black-box folders again in the other forms:
 *                                      from the sources, and the bundle on Node 24 and 20
 *   node scripts/test.mjs PATH...      only the test files whose path begins with one of these, once, in the form
 *                                      that ENTREPOT_TEST_RUNTIME names (default: the sources)
 *   node scripts/test.mjs --check      everything, and before it `npm run check` as one more test
 *
 * A test that is skipped counts as failed: what is not run proves nothing.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PROJECT = fileURLToPath(new URL('..', import.meta.url));
const BUN = join(PROJECT, 'node_modules/.bin/bun');
const RESULTS = join(PROJECT, 'test-results');

/** Milliseconds that one run of the test runner may take; what hangs longer is killed and counted as failed. */
const RUN_LIMIT = 19 * 60_000;

/** Milliseconds that one test may take unless it says otherwise: no busy machine decides a test. */
const TEST_LIMIT = 300_000;

/** Folders whose tests talk to a started server only, and so hold for every form of it. */
const BLACK_BOX = ['conformance', 'security', 'dropin', 'clients', 'processes', 'faults'];

/** Which of them are run again in which form. Real clients and faults exercise what all forms share. */
const FORMS = {
  node24: ['conformance', 'security', 'processes'],
  node20: ['conformance', 'security', 'processes'],
  source: ['conformance'],
};

/** The form of everything else. */
const MAIN_FORM = 'executable';

/** Folders of the first half of them, by the time that they take. */
const CLIENTS = ['clients', 'dropin'];

/** Runs of the test runner beside each other. */
const BESIDE = 3;

/** What spends its two minutes waiting: for it the forms are run beside each other. */
const WAITING = ['test/security/slow-clients.test.ts'];

/** Lines of a failed test that are told again at the end. */
const TOLD_AGAIN = 60;

const totals = { passed: 0, failed: 0 };

/** What is told again at the end, where it is found. */
const failures = [];

/**
 * Runs a command, and shows its output when it has ended: two run beside each other.
 * @returns its exit code; -1 when it was killed for taking too long
 */
function run(title, command, args, env = {}) {
  return new Promise((resolve) => {
    const began = Date.now();
    process.stdout.write(`=== ${title} begins\n`);
    const child = spawn(command, args, {
      cwd: PROJECT,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    const output = [`\n=== ${title}\n`];
    child.stdout.setEncoding('utf8').on('data', (chunk) => output.push(chunk));
    child.stderr.setEncoding('utf8').on('data', (chunk) => output.push(chunk));
    const timer = setTimeout(() => {
      output.push(`killed after ${RUN_LIMIT / 60_000} minutes: ${args.join(' ')}\n`);
      child.kill('SIGKILL');
    }, RUN_LIMIT);
    const end = (code) => {
      clearTimeout(timer);
      for (const chunk of output) process.stdout.write(chunk);
      const lines = output.join('').split('\n');
      const failed = failedTests(title, lines);
      // Such as a build, or a runner that was killed.
      if (code !== 0 && failed.length === 0)
        failed.push([`=== ${title}: exit code ${code}`, ...lines.slice(-TOLD_AGAIN)].join('\n'));
      failures.push(...failed);
      process.stdout.write(`=== ${title} took ${Math.round((Date.now() - began) / 1000)} s\n`);
      resolve(code);
    };
    child.once('error', (error) => {
      output.push(`${error.message}\n`);
      end(-1);
    });
    // Not its `close`: what it left running may hold its output open.
    child.once('exit', (code) => setTimeout(() => end(code ?? -1), 100));
  });
}

const TEST_END = /^\((pass|fail|skip|todo)\) /;

/** @returns of each test that failed: the run, the file, and the end of what was printed before it */
function failedTests(title, lines) {
  const failed = [];
  let file = '';
  let began = 0;
  for (const [at, line] of lines.entries()) {
    if (/^\d+ tests? (failed|skipped):$/.test(line)) break; // the runner's own list of them
    if (/^test\/.*\.test\.ts:$/.test(line)) file = line;
    else if (line.startsWith('(fail) ') || line.startsWith('(skip) ')) {
      const text = lines.slice(Math.max(began, at - TOLD_AGAIN), at + 1).join('\n');
      failed.push(`=== ${title}\n${file}\n${text}`);
    } else if (!TEST_END.test(line)) continue;
    began = at + 1;
  }
  return failed;
}

function testFiles() {
  return readdirSync(join(PROJECT, 'test'), { recursive: true })
    .filter((path) => path.endsWith('.test.ts'))
    .map((path) => `test/${path}`)
    .sort();
}

/** Adds what the report says. The exit code decides where the report is missing, or silent about a failure. */
function count(report, exitCode) {
  let text = '';
  try {
    text = readFileSync(report, 'utf8');
  } catch {
    // The runner ended before it wrote it.
  }
  const head = /<testsuites\b[^>]*>/.exec(text)?.[0] ?? '';
  const attribute = (name) => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(head)?.[1] ?? 0);
  const failed = attribute('failures') + attribute('errors') + attribute('skipped');
  totals.passed += attribute('tests') - failed;
  totals.failed += failed === 0 && exitCode !== 0 ? 1 : failed;
}

async function runTests(title, files, runtime) {
  if (files.length === 0) return;
  const report = join(RESULTS, `${title.replaceAll(' ', '-')}.xml`);
  const output = ['--reporter=junit', `--reporter-outfile=${report}`];
  const env = runtime === undefined ? {} : { ENTREPOT_TEST_RUNTIME: runtime };
  const paths = files.map((file) => `./${file}`);
  const args = ['test', '--timeout', String(TEST_LIMIT), ...output, ...paths];
  const exitCode = await run(`${title}: ${files.length} files`, BUN, args, env);
  count(report, exitCode);
}

async function runStep(title, command, args) {
  const passed = (await run(title, command, args)) === 0;
  totals[passed ? 'passed' : 'failed'] += 1;
  return passed;
}

async function runEverything() {
  const files = testFiles();
  const within = (folders) =>
    files.filter((file) => folders.some((name) => file.startsWith(`test/${name}/`)));
  const blackBox = within(BLACK_BOX);
  const black = (form, folders, part = '') => {
    const some = within(folders).filter((file) => !WAITING.includes(file));
    return runTests(`black box ${form}${part}`, some, form);
  };
  if (!(await runStep('build', BUN, ['scripts/build.ts']))) return;
  const rest = BLACK_BOX.filter((name) => !CLIENTS.includes(name));
  const unit = files.filter((file) => !blackBox.includes(file));
  const forms = [MAIN_FORM, ...Object.keys(FORMS)];
  const queue = [
    () => runTests('unit', unit, MAIN_FORM),
    () => black(MAIN_FORM, CLIENTS, ' of clients'),
    () => Promise.all(forms.map((name) => runTests(`waiting ${name}`, WAITING, name))),
    () => black(MAIN_FORM, rest, ' of the rest'),
    ...Object.entries(FORMS).map(
      ([name, folders]) =>
        () =>
          black(name, folders),
    ),
  ];
  // Beside each other, the longest first: most of them wait, for a disk, a client or a limit.
  const work = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) await next();
  };
  await Promise.all(Array.from({ length: BESIDE }, work));
}

const wanted = process.argv.slice(2).filter((argument) => !argument.startsWith('--'));
rmSync(RESULTS, { recursive: true, force: true });
mkdirSync(RESULTS, { recursive: true });
if (process.argv.includes('--check')) await runStep('check', 'npm', ['run', '--silent', 'check']);
if (wanted.length === 0) await runEverything();
else {
  const prefixes = wanted.map((path) => path.replace(/^\.\//, ''));
  const chosen = testFiles().filter((file) => prefixes.some((prefix) => file.startsWith(prefix)));
  await runTests('chosen', chosen);
  if (chosen.length === 0) process.stdout.write(`no test file begins with ${prefixes.join(' or ')}\n`);
}
// Nothing run is no success.
const good = totals.failed === 0 && totals.passed > 0;
if (!good) process.exitCode = 1;
if (failures.length > 0) process.stdout.write(`\nWhat failed:\n\n${failures.join('\n\n')}\n\n`);
process.stdout.write(`${totals.passed} passed, ${totals.failed} failed\n`);
