/**
 * The thread that hashes uploads: it reads each file behind its writer, from the page cache, and keeps a
 * running sum. See hashing.ts for the messages.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { createHash, type Hash } from 'node:crypto';
import { parentPort } from 'node:worker_threads';
import type { FromHasher, ToHasher } from './hashing.ts';

/** Bytes read and hashed at a time; measured best between 64 KiB and 1 MiB. */
const READ_SIZE = 256 * 1024;
/** Reads of one file before another one gets its turn and new messages are taken. */
const READS_A_TURN = 4;

interface Running {
  readonly fd: number;
  readonly hash: Hash;
  position: number;
  target: number;
  /** Ids of the digests asked for, each at the offset it is due at. */
  readonly asked: { request: number; at: number }[];
  /** Offset at which the writer was last told how far the hash is. */
  reported: number;
}

const running = new Map<number, Running>();
const buffer = Buffer.allocUnsafe(READ_SIZE);
let scheduled = false;

function send(message: FromHasher): void {
  parentPort?.postMessage(message);
}

parentPort?.on('message', (message: ToHasher) => {
  try {
    receive(message);
  } catch (error) {
    fail(message.id, error);
  }
  if (!scheduled && running.size > 0) {
    scheduled = true;
    setImmediate(turn);
  }
});

function receive(message: ToHasher): void {
  const { id } = message;
  if (message.kind === 'start') {
    running.set(id, {
      fd: openSync(message.path, 'r'),
      hash: createHash(message.algorithm),
      position: 0,
      target: 0,
      asked: [],
      reported: 0,
    });
    return;
  }
  const one = running.get(id);
  if (message.kind === 'stop') {
    running.delete(id);
    if (one !== undefined) closeSync(one.fd);
  } else if (one === undefined) {
    send({ kind: 'failed', id, message: 'nothing is being hashed under this number' });
  } else if (message.kind === 'advance') {
    one.target = message.target;
  } else {
    one.target = Math.max(one.target, message.at);
    one.asked.push({ request: message.request, at: message.at });
  }
}

function turn(): void {
  scheduled = false;
  let behind = false;
  for (const [id, one] of running) {
    try {
      for (let reads = 0; reads < READS_A_TURN && one.position < one.target; reads += 1) advance(one);
      answer(id, one);
      if (one.position < one.target) behind = true;
    } catch (error) {
      fail(id, error);
    }
  }
  if (behind) {
    scheduled = true;
    setImmediate(turn);
  }
}

function advance(one: Running): void {
  const wanted = Math.min(READ_SIZE, one.target - one.position);
  const read = readSync(one.fd, buffer, 0, wanted, one.position);
  if (read === 0) throw new Error(`the file ends at ${one.position}, before ${one.target}`);
  one.hash.update(read === READ_SIZE ? buffer : buffer.subarray(0, read));
  one.position += read;
}

function answer(id: number, one: Running): void {
  if (one.position > one.reported) {
    one.reported = one.position;
    send({ kind: 'position', id, position: one.position });
  }
  for (let next = one.asked[0]; next !== undefined && next.at <= one.position; next = one.asked[0]) {
    one.asked.shift();
    if (next.at < one.position) throw new Error(`asked for the digest at ${next.at}, behind ${one.position}`);
    send({ kind: 'digest', id, request: next.request, hex: one.hash.copy().digest('hex') });
  }
}

function fail(id: number, error: unknown): void {
  const one = running.get(id);
  running.delete(id);
  if (one !== undefined) closeSync(one.fd);
  send({ kind: 'failed', id, message: error instanceof Error ? error.message : String(error) });
}
