/** A registry with accounts and rights, in this process. */
import { createHash } from 'node:crypto';
import { hashSync } from 'bcryptjs';
import { type App, createApp } from '../../src/app.ts';
import type { Requester } from '../../src/auth/access.ts';
import type { AuditRecord, Logger } from '../../src/log.ts';
import { loaded } from '../config/config-file.ts';

export const PASSWORD = 'pass word:with colon';
/** Of `PASSWORD`, at bcrypt's least cost. */
export const HASH = hashSync(PASSWORD, 4);
export const SECRET = 'a shared secret of more than 32 bytes';

export const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';

export interface TestRegistry {
  readonly app: App;
  /** Lines of the log. */
  readonly lines: readonly string[];
  send(path: string, init?: RequestInit, requester?: Partial<Requester>): Promise<Response>;
}

/** Starts one with the lines of configuration, over empty storage in memory. */
export async function startRegistry(...lines: readonly string[]): Promise<TestRegistry> {
  const config = await loaded(
    [
      'version: 0.1',
      'storage: {inmemory: , delete: {enabled: true}}',
      'log: {accesslog: {disabled: true}, level: error}',
      ...lines,
    ].join('\n'),
  );
  const written: string[] = [];
  const write = (message: string, fields?: object) =>
    void written.push(`${message} ${JSON.stringify(fields ?? {})}`);
  const log: Logger = { debug: write, info: write, warn: write, error: write };
  const audit = (record: AuditRecord) => write('audit', record);
  const app = createApp(config, log, { audit });
  return {
    app,
    lines: written,
    send(path, init = {}, requester = {}) {
      const headers = new Headers(init.headers);
      if (!headers.has('host')) headers.set('host', 'registry.test');
      const request = new Request(`http://registry.test${path}`, { ...init, headers });
      return app.handler(request, {
        remoteAddress: '192.0.2.1',
        encrypted: false,
        liftIdleLimit: () => undefined,
        ...requester,
      });
    },
  };
}

export function basic(account: string, password = PASSWORD): string {
  return `Basic ${Buffer.from(`${account}:${password}`).toString('base64')}`;
}

/** A token of the registry's own service. */
export async function tokenFor(
  { send }: Pick<TestRegistry, 'send'>,
  authorization: string | undefined,
  ...scopes: readonly string[]
): Promise<string> {
  const query = scopes.map((scope) => `scope=${encodeURIComponent(scope)}`).join('&');
  const answer = await send(`/v2/token?service=entrepot&${query}`, {
    headers: authorization === undefined ? {} : { authorization },
  });
  const body = (await answer.json()) as { token?: string };
  if (body.token === undefined) throw new Error(`no token: ${JSON.stringify(body)}`);
  return body.token;
}

export function sha256(text: string): string {
  return `sha256:${createHash('sha256').update(text).digest('hex')}`;
}

export const BLOB = '{}';
export const MANIFEST = JSON.stringify({
  schemaVersion: 2,
  mediaType: MANIFEST_TYPE,
  config: { mediaType: 'application/vnd.oci.empty.v1+json', digest: sha256(BLOB), size: BLOB.length },
  layers: [],
});

/** Pushes an image, and begins an upload of which the path is returned. */
export async function pushImage(
  { send }: Pick<TestRegistry, 'send'>,
  authorization: string,
  name: string,
): Promise<{ readonly upload: string }> {
  const headers = { authorization };
  const blob = await send(`/v2/${name}/blobs/uploads/?digest=${sha256(BLOB)}`, {
    method: 'POST',
    headers: { ...headers, 'content-length': String(BLOB.length) },
    body: BLOB,
  });
  const put = await send(`/v2/${name}/manifests/v1`, {
    method: 'PUT',
    headers: { ...headers, 'content-type': MANIFEST_TYPE },
    body: MANIFEST,
  });
  const begun = await send(`/v2/${name}/blobs/uploads/`, { method: 'POST', headers });
  const statuses = [blob.status, put.status, begun.status];
  if (statuses.join() !== '201,201,202')
    throw new Error(`a push was answered ${statuses.join()}: ${await put.text()}`);
  return { upload: new URL(begun.headers.get('location') ?? '', 'http://registry.test').pathname };
}
