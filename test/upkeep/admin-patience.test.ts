/** Clients of the admin socket that do not read what they are told: they are cut off, and keep nobody else out. */
import { afterAll, beforeAll, expect, jest, test } from 'bun:test';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { Writable } from 'node:stream';
import { type AdminSocket, listenForAdmin, reach } from '../../src/admin/admin-socket.ts';
import { askServer } from '../../src/admin/client.ts';
import { answerAdmin } from '../../src/admin/desk.ts';
import { JobBoard, type JobWatcher, type StartJob } from '../../src/admin/job-board.ts';
import { LineWriter } from '../../src/admin/line-writer.ts';
import type { JobEvent, JobOutcome } from '../../src/server/job-messages.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';
import { SILENT } from './collecting.ts';

const LIMITS = { askWithin: 10_000, readWithin: 50, leaveWithin: 50 };
/** Connections that the socket takes at a time. */
const MOST = 64;
/** More than the system keeps for who does not read. */
const MUCH: JobEvent = { kind: 'items', items: [{ what: 'x'.repeat(4 * 1024 * 1024) }] };

let workspace: Workspace;
let path: string;
let server: AdminSocket;
/** Called when a connection is closed, at the server's end. */
let hasClosed = (): void => undefined;
let tell: JobWatcher = () => undefined;
let end: (outcome: JobOutcome) => void;

beforeAll(async () => {
  workspace = await createWorkspace('patience');
  path = workspace.join('admin.sock');
  const outcome = new Promise<JobOutcome>((resolve) => (end = resolve));
  const start: StartJob = (_job, _options, onEvent) => {
    tell = onEvent;
    return Promise.resolve({ pid: 1, outcome, stop: () => undefined, kill: () => undefined });
  };
  const board = new JobBoard(start, SILENT, () => false);
  board.start('gc', {}, 'command');
  server = await listenForAdmin(path, (socket) => {
    socket.once('close', () => hasClosed());
    const readOnly = () => Promise.resolve({ readOnly: { on: false } });
    answerAdmin(socket, { board, isJob: () => true, readOnly, settings: () => Promise.resolve([]) }, LIMITS);
  });
});

afterAll(async () => {
  await server.close();
  await workspace.remove();
});

/** A client that says something and then neither reads nor hangs up. */
async function mute(question: object): Promise<Socket> {
  const socket = await reach(path);
  if (socket === undefined) throw new Error('nobody listens');
  socket.pause();
  socket.write(`${JSON.stringify(question)}\n`);
  return socket;
}

async function statusOf(): Promise<string | undefined> {
  const conversation = await askServer(path, { ask: 'status' });
  for await (const told of conversation?.told() ?? []) return told.tell;
  return undefined;
}

test('as many as there may be that neither read nor hang up keep nobody out, and may read their answer yet', async () => {
  let closed = 0;
  const allClosed = new Promise<void>((resolve) => {
    hasClosed = () => {
      closed += 1;
      if (closed === MOST) resolve();
    };
  });
  const clients: Socket[] = [];
  for (let count = 0; count < MOST; count += 1) clients.push(await mute({ ask: 'status' }));
  await allClosed;
  expect(await statusOf()).toBe('status');
  const [first] = clients;
  if (first === undefined) throw new Error('no client');
  const [line] = (await Promise.all([once(first, 'data'), Promise.resolve(first.resume())]))[0] as [Buffer];
  expect(JSON.parse(line.toString())).toMatchObject({ tell: 'status', running: [{ job: 'gc' }] });
  for (const client of clients) client.destroy();
});

test('who follows a run and does not read is cut off, and the run goes on; who reads is told all', async () => {
  const deaf = await mute({ ask: 'watch', job: 'gc' });
  const reader = await askServer(path, { ask: 'watch', job: 'gc' });
  const seen: string[] = [];
  let size = 0;
  const reading = (async () => {
    for await (const told of reader?.told() ?? []) {
      seen.push(told.tell);
      if (told.tell === 'event') size = JSON.stringify(told.event).length;
      if (seen.length === 1) void tell(MUCH)?.then(() => end({ kind: 'done', summary: {} }));
    }
  })();
  await reading;
  expect(seen).toEqual(['started', 'event', 'ended']);
  expect(size).toBe(JSON.stringify(MUCH).length);
  deaf.destroy();
});

test('who reads slowly but steadily is not cut off; who stops is', () => {
  jest.useFakeTimers();
  try {
    const pieces: number[] = [];
    let drained = (): void => undefined;
    const socket = new Writable({
      highWaterMark: 1,
      write: (chunk: Buffer, _encoding, done) => {
        pieces.push(chunk.length);
        drained = done;
      },
    });
    let isDestroyed = false;
    socket.destroy = () => {
      isDestroyed = true;
      return socket;
    };
    const writer = new LineWriter(socket as unknown as Socket, 30_000);
    void writer.write('x'.repeat(100 * 1024));
    for (let round = 1; round <= 5; round += 1) {
      jest.advanceTimersByTime(29_000);
      expect(isDestroyed).toBe(false);
      expect(pieces).toHaveLength(round);
      drained();
      socket.emit('drain');
    }
    jest.advanceTimersByTime(29_000);
    expect(isDestroyed).toBe(false);
    jest.advanceTimersByTime(1_001);
    expect(isDestroyed).toBe(true);
  } finally {
    jest.useRealTimers();
  }
});
