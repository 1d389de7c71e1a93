/** Where a server listens, and what an operator is told where it cannot. */
import { afterAll, describe, expect, test } from 'bun:test';
import { existsSync } from 'node:fs';
import { chmod, chown, readdir, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { childrenOf } from '../faults/worker-pids.ts';
import { run } from '../harness/tools.ts';
import { eventually } from '../harness/waiting.ts';
import { RawClient } from './raw-client.ts';
import { cleanUp, launch, RUNTIMES, start, stop, temporaryFolder } from './subject.ts';

afterAll(cleanUp);

async function listenOn(where: { path: string } | { port: number; host: string }): Promise<Server> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(where, resolve));
  return server;
}

async function askBySocket(path: string): Promise<{ status: number; remoteAddress: string } | undefined> {
  const client = new RawClient({ path });
  client.send('GET /a HTTP/1.1\r\nHost: h\r\n\r\n');
  const response = await client.response();
  client.destroy();
  if (response === undefined) return undefined;
  const { remoteAddress } = JSON.parse(response.body) as { remoteAddress: string };
  return { status: response.status, remoteAddress };
}

describe.each([...RUNTIMES])('%s', (runtime) => {
  /** Starts it where it cannot start. @returns the message for the operator */
  const refusal = async (address: { hostname: string; port: number } | { unix: string }): Promise<string> => {
    const subject = await launch(runtime, { address });
    const { error } = await subject.line((line) => 'error' in line);
    expect((await subject.exited).code).toBe(1);
    return String(error);
  };

  test('a used port is one clear line', async () => {
    const other = await listenOn({ host: '127.0.0.1', port: 0 });
    const { port } = other.address() as { port: number };
    expect(await refusal({ hostname: '127.0.0.1', port })).toBe(
      `cannot listen on 127.0.0.1:${port}: it is in use by another process; stop that one or choose another address`,
    );
    other.close();
  }, 300_000);

  test('so is the port of another one of these servers, which shares it among its workers', async () => {
    const first = await start(runtime, { workers: 2 });
    expect(await refusal({ hostname: '127.0.0.1', port: first.port })).toContain('in use by another process');
    await stop(first);
  });

  test('an address that the machine does not have', async () => {
    expect(await refusal({ hostname: '192.0.2.1', port: 0 })).toContain('this machine has no such address');
  });

  test('a host name that does not resolve', async () => {
    expect(await refusal({ hostname: 'no-such-host.invalid', port: 0 })).toContain('does not resolve');
  });

  test('an empty host means every address', async () => {
    const subject = await start(runtime, { address: { hostname: '', port: 0 } });
    const response = await fetch(`http://127.0.0.1:${subject.port}/a`);
    expect(await response.json()).toMatchObject({ remoteAddress: '127.0.0.1' });
    expect((await fetch(`http://[::1]:${subject.port}/a`)).status).toBe(200);
    await stop(subject);
  });

  test('TLS: the handler is told, and old protocol versions are refused', async () => {
    const folder = await temporaryFolder();
    const [certificate, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
    const what = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost';
    const extra = ['-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', certificate];
    await run('openssl', [...what.split(' '), ...extra]);
    const texts = { certificate: await Bun.file(certificate).text(), key: await Bun.file(key).text() };
    const subject = await start(runtime, { tls: texts });
    const answer = await run('curl', ['-sS', '--cacert', certificate, subject.url('/a')]);
    expect(JSON.parse(answer.stdout)).toMatchObject({ encrypted: true, url: subject.url('/a') });
    const old = await run('curl', ['-sS', '--cacert', certificate, '--tls-max', '1.1', subject.url('/a')], {
      mayFail: true,
    });
    expect(old.code).not.toBe(0);
    await stop(subject);
  });

  describe('a unix socket', () => {
    test('is served, and removed at the end', async () => {
      const unix = join(await temporaryFolder(), 'server.sock');
      const subject = await start(runtime, { address: { unix }, workers: 4 });
      expect(await askBySocket(unix)).toEqual({ status: 200, remoteAddress: '' });
      subject.kill('SIGTERM');
      expect(await subject.exited).toEqual({ code: 0, signal: null });
      expect(existsSync(unix)).toBe(false);
    });

    test('of a successor that serves already stays when the server ends', async () => {
      const unix = join(await temporaryFolder(), 'server.sock');
      const first = await start(runtime, { address: { unix }, drainTimeoutMs: 600_000 });
      const slow = new RawClient({ path: unix });
      slow.socket.pause();
      slow.send('GET /stream?chunks=16&bytes=1000000 HTTP/1.1\r\nHost: h\r\n\r\n');
      await eventually(
        'an answer',
        () => slow.socket.bytesRead,
        (bytes) => bytes > 0,
      );
      first.kill('SIGTERM');
      await eventually(
        'nobody on the socket',
        () => askBySocket(unix),
        (answer) => answer === undefined,
      );
      const second = await start(runtime, { address: { unix } });
      expect((await askBySocket(unix))?.status).toBe(200);
      slow.socket.resume();
      expect((await slow.response())?.body).toHaveLength(16_000_000);
      slow.destroy();
      expect((await first.exited).code).toBe(0);
      expect((await askBySocket(unix))?.status).toBe(200);
      await stop(second);
    }, 300_000);

    test('is there for everybody while workers are replaced, and one that crashes takes it again', async () => {
      const folder = await temporaryFolder();
      const unix = join(folder, 's.sock');
      const subject = await start(runtime, { address: { unix } });
      // Another group than a new socket has, which root may choose freely.
      const { uid, gid: ownGroup } = await stat(unix);
      const group = uid === 0 ? 12_345 : process.getgroups?.().find((one) => one !== ownGroup);
      await chown(unix, uid, group ?? ownGroup);
      await chmod(unix, 0o660);
      const granted = async () => {
        const { mode, gid } = await stat(unix);
        return [(mode & 0o777).toString(8), gid];
      };
      const slow = new RawClient({ path: unix });
      slow.socket.pause();
      slow.send('GET /stream?chunks=16&bytes=1000000 HTTP/1.1\r\nHost: h\r\n\r\n');
      const over = new AbortController();
      let answered = 0;
      const statuses = new Set<number | undefined>();
      const asking = Array.from({ length: 3 }, async () => {
        for (; !over.signal.aborted; answered += 1) statuses.add((await askBySocket(unix))?.status);
      });
      const replaced = () => subject.lines.filter(({ message }) => String(message).endsWith('is replaced'));
      for (const roll of [1, 2]) {
        subject.kill('SIGHUP');
        await subject.line(() => replaced().length === roll);
        expect(await granted()).toEqual(['660', group ?? ownGroup]);
      }
      slow.socket.resume();
      expect((await slow.response())?.body).toHaveLength(16_000_000);
      // Those that were replaced leave it alone when they end.
      while (childrenOf(subject.pid).length > 1) await delay(20);
      over.abort();
      await Promise.all(asking);
      expect(answered).toBeGreaterThan(3);
      expect([...statuses]).toEqual([200]);
      const crash = new RawClient({ path: unix });
      crash.send('GET /crash HTTP/1.1\r\nHost: h\r\n\r\n');
      await crash.closed();
      while ((await askBySocket(unix))?.status !== 200) await delay(20);
      expect(await granted()).toEqual(['660', group ?? ownGroup]);
      expect(await readdir(folder)).toEqual(['s.sock']);
      subject.kill('SIGTERM');
      await subject.exited;
      expect(await readdir(folder)).toEqual([]);
    }, 300_000);

    test('whose server was killed is taken over', async () => {
      const unix = join(await temporaryFolder(), 'server.sock');
      // Leaves its file behind, as nothing is closed.
      const stale = `require('net').createServer().listen(${JSON.stringify(unix)}, () => process.kill(process.pid, 9))`;
      await run('node', ['-e', stale], { mayFail: true }).catch(() => undefined);
      expect(existsSync(unix)).toBe(true);
      const subject = await start(runtime, { address: { unix } });
      expect((await askBySocket(unix))?.status).toBe(200);
      await stop(subject);
    });

    test('that somebody answers on is left alone', async () => {
      const unix = join(await temporaryFolder(), 'server.sock');
      const other = await listenOn({ path: unix });
      expect(await refusal({ unix })).toContain('another process answers on this socket');
      expect(existsSync(unix)).toBe(true);
      other.close();
    });

    test('is not made where a file is', async () => {
      const unix = join(await temporaryFolder(), 'precious.txt');
      await writeFile(unix, 'content');
      expect(await refusal({ unix })).toContain('it exists and is no socket');
      expect(existsSync(unix)).toBe(true);
    });

    test('in a folder that does not exist is one clear line', async () => {
      const unix = join(await temporaryFolder(), 'missing', 'server.sock');
      expect(await refusal({ unix })).toContain('its folder does not exist');
    });
  });
});
