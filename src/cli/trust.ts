/** `entrepot trust HOST[:PORT]`: makes this machine trust the authority of a registry, after a look at its fingerprint. */
import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { dirname, join } from 'node:path';
import { fingerprintOf } from '../tls/fingerprint.ts';
import { linuxStores, manualSteps, type TrustStore } from '../tls/trust-stores.ts';
import { CommandFailure, type CommandIo, exitCodeOf, processIo } from './command-io.ts';
import { promptLine } from './prompt-line.ts';

export interface TrustOptions {
  /** `registry.local:5000`. */
  readonly host: string;
  /** What the authority's certificate must have; else it is shown and asked for. */
  readonly fingerprint?: string;
  /** Only tell what would be done. */
  readonly print?: boolean;
  /** Undo it. */
  readonly remove?: boolean;
  /** The folder that stands for `/`; for tests. */
  readonly root?: string;
  readonly platform?: NodeJS.Platform;
}

const MAX_CERTIFICATE = 64 * 1024;
const TIMEOUT_MS = 10_000;

/** @returns the exit code */
export async function trust(options: TrustOptions, io: CommandIo = processIo()): Promise<number> {
  return exitCodeOf(io, async () => {
    const { host, remove = false, print = false, root = '/', platform = process.platform } = options;
    const [, name = '', port = '443'] =
      /^([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?$/.exec(host) ?? [];
    if (name === '') throw new CommandFailure(`${host}: expected a host, and a port behind a colon`, 2);
    const place = port === '443' ? name : `${name}:${port}`;
    const pem = remove ? '' : await fetchRoot(name, Number(port));
    if (!remove) await confirm(place, pem, options, io);
    if (platform !== 'linux') {
      const file = `entrepot-${name}.crt`;
      if (!print && !remove) await writeFile(join(root === '/' ? '.' : root, file), pem);
      for (const step of manualSteps({ host: place, pem }, file))
        io.out(`${step.name}:\n  ${step.command}\n`);
      return;
    }
    const stores = linuxStores({ host: place, pem }).filter(({ evidence }) =>
      evidence.some((path) => existsSync(join(root, path))),
    );
    if (stores.length === 0)
      throw new CommandFailure('no program that looks for authorities was found on this machine');
    for (const store of stores) await change(store, { remove, print, root }, io);
    if (!print && !remove) io.out(`${place} is trusted. docker login ${place}\n`);
  });
}

async function change(
  { name, files, command }: TrustStore,
  { remove, print, root }: { readonly remove: boolean; readonly print: boolean; readonly root: string },
  io: CommandIo,
): Promise<void> {
  for (const { path, text = '' } of files) {
    const file = join(root, path);
    io.out(`${name}: ${remove ? 'remove' : 'write'} ${path}\n`);
    if (print) continue;
    try {
      if (remove) await rm(file, { force: true });
      else {
        await mkdir(dirname(file), { recursive: true });
        await writeFile(file, text);
      }
    } catch (error) {
      throw new CommandFailure(`${path}: ${(error as Error).message}; run it as root, or with --print`);
    }
  }
  if (command === undefined) return;
  io.out(`${name}: run ${command.join(' ')}\n`);
  if (print || root !== '/') return;
  const [program, ...args] = command;
  await new Promise<void>((resolve, reject) => {
    execFile(program, args, (error, _stdout, stderr) =>
      error === null ? resolve() : reject(new CommandFailure(`${program} failed: ${stderr.trim()}`)),
    );
  });
}

/**
 * Fetched over a connection that proves nothing: whether it is the right one is what the fingerprint tells.
 * @throws CommandFailure
 */
async function fetchRoot(hostname: string, port: number): Promise<string> {
  const text = await new Promise<string>((resolve, reject) => {
    const host = hostname.replaceAll(/^\[|\]$/g, '');
    const refuse = (reason: string) =>
      reject(new CommandFailure(`https://${hostname}:${port}/root-ca.crt: ${reason}`));
    const asked = request(
      { host, port, path: '/root-ca.crt', rejectUnauthorized: false, timeout: TIMEOUT_MS, agent: false },
      (answer) => {
        let body = '';
        answer.setEncoding('latin1');
        answer.on('data', (chunk: string) => {
          body += chunk;
          if (body.length > MAX_CERTIFICATE) asked.destroy();
        });
        answer.on('end', () => {
          if (answer.statusCode === 200) resolve(body);
          else refuse(`it answered ${answer.statusCode}: it has no authority of its own (http.tls.auto)`);
        });
        answer.on('error', (error) => refuse(error.message));
      },
    );
    asked.on('timeout', () => asked.destroy(new Error('no answer')));
    asked.on('error', (error) => refuse(error.message));
    asked.end();
  });
  try {
    if (new X509Certificate(text).ca) return text;
  } catch {
    // told below
  }
  throw new CommandFailure(`https://${hostname}:${port}/root-ca.crt: that is no certificate of an authority`);
}

async function confirm(host: string, pem: string, options: TrustOptions, io: CommandIo): Promise<void> {
  const certificate = new X509Certificate(pem);
  const fingerprint = fingerprintOf(certificate.raw);
  const plain = (text: string) => text.replaceAll(/[^0-9A-Fa-f]/g, '').toUpperCase();
  if (options.fingerprint !== undefined) {
    if (plain(options.fingerprint) === plain(fingerprint)) return;
    throw new CommandFailure(
      `the authority of ${host} has another fingerprint: ${fingerprint}. Nothing is trusted`,
    );
  }
  io.err(`The authority of ${host}:\n`);
  io.err(`  ${certificate.subject.replaceAll('\n', ', ')}, until ${certificate.validTo}\n`);
  io.err(`  SHA-256 ${fingerprint}\n`);
  if (options.print === true) return;
  if (io.input.isTTY !== true) {
    throw new CommandFailure(
      'nobody can be asked here: compare it with the server’s log, and give it with --fingerprint',
    );
  }
  io.err('Is this what the server’s log says? [y/N] ');
  if (!/^y(es)?$/i.test((await promptLine(io)).trim())) throw new CommandFailure('Nothing is trusted.');
}
