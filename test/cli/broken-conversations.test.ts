/** Servers that do not answer, or break off: each command that asks one says so in one line, and ends. */
import { afterAll, afterEach, beforeAll, expect, jest, test } from 'bun:test';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import type { CommandIo } from '../../src/cli/command-io.ts';
import { jobsCancel, jobsStatus, jobsWatch } from '../../src/cli/jobs.ts';
import { readOnly } from '../../src/cli/read-only.ts';
import { gc } from '../../src/cli/upkeep.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';
import { captured } from './captured-io.ts';

let workspace: Workspace;
let file: string;
let server: Server;
let answer: (socket: Socket) => void;
beforeAll(async () => {
  workspace = await createWorkspace('broken');
  file = workspace.join('config.yml');
  const socket = workspace.join('s');
  const storage = `{filesystem: {rootdirectory: ${await workspace.folder('data')}}}`;
  await writeFile(file, `version: 0.1\nstorage: ${storage}\nadmin: {socket: ${socket}}\n`);
  server = createServer((connection) => {
    connection.on('error', () => undefined);
    answer(connection);
  });
  server.listen(socket);
  await once(server, 'listening');
});
afterEach(() => {
  jest.useRealTimers();
});
afterAll(async () => {
  server.close();
  await workspace.remove();
});

const COMMANDS: Readonly<Record<string, (io: CommandIo) => Promise<number>>> = {
  jobs: (io) => jobsStatus({ file }, io),
  'jobs watch': (io) => jobsWatch({ job: 'gc', file }, io),
  'jobs cancel': (io) => jobsCancel({ job: 'gc', file }, io),
  'read-only status': (io) => readOnly({ file }, io),
  gc: (io) => gc({ file }, io),
};

test.each(Object.entries(COMMANDS))('%s, where the server breaks off', async (_, command) => {
  answer = (socket) => socket.once('data', () => socket.destroy());
  const { code, out, err } = await captured(command);
  expect([code, out]).toEqual([1, '']);
  expect(err).toMatch(/^(?:gc: )?the server has ended the conversation: [^\n]*\n$/);
});

test.each(Object.entries(COMMANDS))('%s, where the server stands still', async (_, command) => {
  jest.useFakeTimers();
  answer = (socket) => socket.once('data', () => jest.advanceTimersByTime(10_000));
  const { code, out, err } = await captured(command);
  expect([code, out]).toEqual([1, '']);
  expect(err).toMatch(/^(?:gc: )?the server does not answer\n$/);
});
