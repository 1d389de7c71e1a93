/** `entrepot trust HOST[:PORT]`: makes this machine trust the authority of a registry, after a look at its fingerprint. */
import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { isIP } from 'node:net';
import { dirname, join } from 'node:path';
import { fingerprintOf } from '../tls/fingerprint.ts';
import {
  holds,
  isOurs,
  linuxStores,
  manualRemoval,
  manualSteps,
  marked,
  type TrustStore,
} from '../tls/trust-stores.ts';
import { CommandFailure, type CommandIo, exitCodeOf, processIo } from './command-io.ts';
import { promptLine } from './prompt-line.ts';
import { checkedFetch } from './trust-card.ts';

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
    const { remove = false, print = false, root = '/', platform = process.platform } = options;
    const { name, port, place } = placeOf(options.host);
    const pem = remove ? '' : await fetchRoot(name, port);
    if (!remove) await confirm(place, pem, options, io);
    if (platform !== 'linux') {
      const file = `entrepot-${place.replaceAll(/[^A-Za-z0-9.-]+/g, '-')}.crt`;
      if (print && !remove) io.out(`The certificate:\n  ${byHand(place, pem, file, platform)}\n`);
      else if (!remove) await writeFile(join(root === '/' ? '.' : root, file), pem);
      for (const step of (remove ? manualRemoval : manualSteps)(place, file))
        io.out(`${step.name}:\n  ${step.command}\n`);
      return;
    }
    const stores = linuxStores(place).filter(({ evidence }) =>
      evidence.some((path) => existsSync(join(root, path))),
    );
    if (stores.length === 0)
      throw new CommandFailure('no program that looks for authorities was found on this machine');
    let changed = false;
    for (const store of stores) changed = (await change(store, { pem, remove, print, root }, io)) || changed;
    if (remove && !changed) io.out(`${place} was not trusted\n`);
    if (!print && !remove) io.out(`${place} is trusted. docker login ${place}\n`);
  });
}

/** A command that fetches the certificate, and looks at its fingerprint. Windows has no program that does both. */
function byHand(place: string, pem: string, file: string, platform: NodeJS.Platform): string {
  const fingerprint = fingerprintOf(new X509Certificate(pem).raw);
  if (platform !== 'win32') return checkedFetch(place, fingerprint, `echo "$c" > ${file}`);
  const hash = fingerprint.replaceAll(':', '').toLowerCase();
  return `curl -ko ${file} https://${place}/root-ca.crt\n  certutil -dump ${file} | findstr ${hash}   (if that shows nothing, it is another one: delete it)`;
}

/** A DNS name (RFC 1123 §2.1): labels, none of which is empty. A dot alone, or two, would be another folder. */
const NAME =
  /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/i;

/** What a user may have typed, or copied from a browser. Paths are made of it. @throws CommandFailure */
function placeOf(typed: string): { readonly name: string; readonly port: number; readonly place: string } {
  const host = typed.replace(/^https?:\/\//, '').replace(/\/$/, '');
  const [, name = '', digits = '443'] =
    /^([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?$/.exec(host) ?? [];
  const port = Number(digits);
  const isHost = name.startsWith('[') ? isIP(name.slice(1, -1)) === 6 : NAME.test(name);
  if (!isHost || port < 1 || port > 65_535)
    throw new CommandFailure(
      `${typed}: expected a host, and a port behind a colon; an IPv6 address in brackets: [fd00::1]:5000`,
      2,
    );
  return { name, port, place: port === 443 ? name : `${name}:${port}` };
}

interface How {
  /** Nothing where it is removed. */
  readonly pem: string;
  readonly remove: boolean;
  readonly print: boolean;
  readonly root: string;
}

/** @returns whether there was something to do */
async function change(store: TrustStore, how: How, io: CommandIo): Promise<boolean> {
  const { name, command, condition } = store;
  const { remove, print, root } = how;
  const changed = remove ? await removeFiles(store, how, io) : await addFiles(store, how, io);
  const text = condition === undefined ? '' : await readText(join(root, condition.path));
  if (condition !== undefined && !remove && !condition.isMet(text))
    io.out(`${name}: ${condition.advice(text)}\n`);
  if (command === undefined || !changed) return changed;
  io.out(`${name}: run ${command.join(' ')}\n`);
  if (print || root !== '/') return true;
  const [program, ...args] = command;
  await new Promise<void>((resolve, reject) => {
    execFile(program, args, (error, _stdout, stderr) =>
      error === null ? resolve() : reject(new CommandFailure(`${program} failed: ${stderr.trim()}`)),
    );
  });
  return true;
}

/** @returns whether there was something to do */
async function addFiles(
  { name, certificate, settings }: TrustStore,
  how: How,
  io: CommandIo,
): Promise<boolean> {
  const found = await Promise.all(
    certificate.map(async (path) => ({ path, text: await presentText(path, how) })),
  );
  const there = found.find(({ path, text = '' }) => !isOurs(path, text) && holds(text, how.pem));
  // One that the card's line has put beside a free place is the one to replace.
  const ours = found.find(({ path, text }) => text !== undefined && isOurs(path, text));
  const chosen = there ?? ours ?? found.find(({ text }) => text === undefined);
  const passed = chosen === undefined ? found : found.slice(0, found.indexOf(chosen));
  for (const { path } of passed.filter(({ text }) => text !== undefined))
    io.out(`${name}: ${path} is somebody’s own and stays as it is\n`);
  if (chosen === undefined)
    throw new CommandFailure(`${name}: there is no place for the certificate; move one of those files away`);
  if (chosen === there) io.out(`${name}: ${chosen.path} has it already\n`);
  else await writeOne(name, chosen.path, marked(how.pem), how, io);
  if (settings === undefined) return chosen !== there;
  const text = settings.textFor(chosen.path);
  const present = await presentText(settings.path, how);
  if (present === undefined || isOurs(settings.path, present))
    await writeOne(name, settings.path, text, how, io);
  else io.out(`${name}: ${settings.path} is somebody’s own and stays as it is; it needs\n${text}`);
  return true;
}

async function writeOne(
  store: string,
  path: string,
  text: string,
  { print, root }: How,
  io: CommandIo,
): Promise<void> {
  io.out(`${store}: write ${path}\n`);
  if (print) return;
  try {
    const file = join(root, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text);
  } catch (error) {
    throw notPermitted(path, error);
  }
}

/** @returns whether there was something to do */
async function removeFiles(
  { name, certificate, settings }: TrustStore,
  how: How,
  io: CommandIo,
): Promise<boolean> {
  let changed = false;
  for (const path of [...certificate, ...(settings === undefined ? [] : [settings.path])]) {
    const text = await presentText(path, how);
    if (text === undefined) continue;
    if (!isOurs(path, text)) {
      io.out(`${name}: ${path} is somebody’s own and stays as it is\n`);
      continue;
    }
    changed = true;
    io.out(`${name}: remove ${path}\n`);
    if (how.print) continue;
    const file = join(how.root, path);
    await rm(file).catch((error: unknown) => {
      throw notPermitted(path, error);
    });
    // The folder was made for it. With something else in it, it stays.
    if (path.includes('/certs.d/')) await rmdir(dirname(file)).catch(() => undefined);
  }
  return changed;
}

/** The text of a file of the machine; undefined where there is none. @throws CommandFailure when it cannot be read */
async function presentText(path: string, { root }: How): Promise<string | undefined> {
  const file = join(root, path);
  if (!existsSync(file)) return undefined;
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw notPermitted(path, error);
  }
}

function notPermitted(path: string, error: unknown): CommandFailure {
  return new CommandFailure(`${path}: ${(error as Error).message}; run it as root, or with --print`);
}

function readText(file: string): Promise<string> {
  return readFile(file, 'utf8').catch(() => '');
}

/**
 * Fetched over a connection that proves nothing: whether it is the right one is what the fingerprint tells. That the
 * server's own certificate is of this authority and for this name is looked at afterwards, as trust would be of no use.
 * @throws CommandFailure
 */
async function fetchRoot(name: string, port: number): Promise<string> {
  const url = `https://${name}:${port}/root-ca.crt`;
  const refuse = (reason: string) => new CommandFailure(`${url}: ${reason}`);
  const { status, body } = await ask(name, port).catch((error: Error) => {
    throw refuse(reasonOf(error, port));
  });
  if (status !== 200) {
    const isPublic = await ask(name, port, {}).then(
      () => true,
      () => false,
    );
    throw refuse(
      isPublic
        ? `it answered ${status}, and this machine trusts the certificate of ${name} already: there is nothing to do`
        : `it answered ${status}: it has no authority of its own (http.tls.auto)`,
    );
  }
  const pem = onlyCertificate(body);
  if (pem === undefined) throw refuse('that is not one certificate of an authority, and nothing else');
  await ask(name, port, { ca: pem }).catch((error: NodeJS.ErrnoException) => {
    const advice =
      error.code === 'ERR_TLS_CERT_ALTNAME_INVALID'
        ? '. Use a name that it is for, or have this one added to http.tls.names of the server'
        : ': is it a proxy that answers there?';
    throw refuse(`clients would refuse the server in spite of it: ${error.message}${advice}`);
  });
  return pem;
}

/**
 * The one certificate that a text consists of, written anew. What a stranger puts beside it would be trusted as well, and
 * is in no fingerprint that anybody is shown. @returns undefined for anything else, and for no authority's
 */
function onlyCertificate(body: string): string | undefined {
  const [, base64] =
    /^\s*-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*$/.exec(body) ?? [];
  if (base64 === undefined) return undefined;
  try {
    const der = Buffer.from(base64, 'base64');
    const certificate = new X509Certificate(der);
    // Bytes behind the certificate are in what was sent, but not in it.
    if (!certificate.ca || !certificate.raw.equals(der)) return undefined;
    const lines = certificate.raw.toString('base64').match(/.{1,64}/g) ?? [];
    return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
  } catch {
    return undefined;
  }
}

/** The authority's certificate, as it is sent. With `proof` the connection is proven by that: the system, or its own. */
function ask(
  name: string,
  port: number,
  proof?: { readonly ca?: string },
): Promise<{ readonly status: number; readonly body: string }> {
  const host = name.replaceAll(/^\[|\]$/g, '');
  const checks = proof ?? { rejectUnauthorized: false };
  // A certificate for an address is found by the address; as the name of a server none may be sent (RFC 6066).
  const servername = isIP(host) === 0 ? { servername: host } : {};
  return new Promise((resolve, reject) => {
    const asked = request(
      { host, port, path: '/root-ca.crt', timeout: TIMEOUT_MS, agent: false, ...servername, ...checks },
      (answer) => {
        let body = '';
        answer.setEncoding('latin1');
        answer.on('data', (chunk: string) => {
          body += chunk;
          if (body.length > MAX_CERTIFICATE) asked.destroy();
        });
        answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body }));
        answer.on('error', reject);
      },
    );
    asked.on('timeout', () => asked.destroy(new Error('no answer')));
    asked.on('error', reject);
    asked.end();
  });
}

/** What a failure to connect means, and what to do about it. */
function reasonOf({ message, code }: NodeJS.ErrnoException, port: number): string {
  if (/WRONG_VERSION|wrong version|packet length|EPROTO/i.test(`${message} ${code}`))
    return 'it speaks no TLS there. Is that the port of plain HTTP?';
  if (code === 'ECONNREFUSED')
    return `nobody listens there${port === 443 ? '. Is the port missing? By `serve --lan` it is 5000' : ''}`;
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return 'there is no such host. Names in .local need libnss-mdns or systemd-resolved; an address does without';
  return message;
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
