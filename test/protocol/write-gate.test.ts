/** Read-only mode that comes while requests are under way. */
import { expect, test } from 'bun:test';
import { createApp } from '../../src/app.ts';
import { loadConfig } from '../../src/config/load.ts';
import { digestBy } from '../harness/registry-client.ts';
import { SILENT } from '../upkeep/collecting.ts';

const CONNECTION = { remoteAddress: '127.0.0.1', encrypted: false, liftIdleLimit: () => undefined };
const BASE = 'http://127.0.0.1/v2/r';

test('what is under way is counted, and cut when it does not end; the upload keeps what came', async () => {
  const { config } = await loadConfig({
    env: { REGISTRY_STORAGE: 'inmemory', REGISTRY_LOG_ACCESSLOG_DISABLED: 'true' },
  });
  const app = createApp(config, SILENT);
  const { writes } = app;
  const ask = (path: string, init: RequestInit = {}) =>
    app.handler(new Request(BASE + path, init), CONNECTION);
  try {
    const begun = await ask('/blobs/uploads/', { method: 'POST' });
    const upload = new URL(begun.headers.get('location') ?? '', BASE).pathname.slice('/v2/r'.length);
    let send: ReadableStreamDefaultController<Uint8Array> | undefined;
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        send = controller;
      },
    });
    const init: RequestInit & { duplex: 'half' } = { method: 'PATCH', body, duplex: 'half' };
    const patch = ask(upload, init);
    send?.enqueue(Buffer.from('first'));
    for (let offset = ''; offset !== '0-4';) {
      offset = (await ask(upload)).headers.get('range') ?? '';
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    writes.close('moving house');
    expect(await writes.settled(5)).toBe(1);
    const refused = await ask('/blobs/uploads/', { method: 'POST' });
    expect(refused.status).toBe(405);
    expect(await refused.text()).toContain('read-only mode: moving house');
    writes.cut();
    expect(await writes.settled(10_000)).toBe(0);
    const cut = await patch;
    expect(cut.status).toBe(405);
    expect(await cut.text()).toContain('moving house');
    expect((await ask(upload)).headers.get('range')).toBe('0-4');
    writes.open();
    const bytes = Buffer.from('first and last');
    const headers = { 'content-range': '5-13' };
    const closing = `${upload}?digest=${digestBy('sha256', bytes)}`;
    expect((await ask(closing, { method: 'PUT', headers, body: bytes.subarray(5) })).status).toBe(201);
    expect(await writes.settled(0)).toBe(0);
  } finally {
    app.stop();
  }
});
