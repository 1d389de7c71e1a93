import { hashSync } from 'bcryptjs';
import type { Bench, Measurement } from '../harness/bench.ts';
import { ACCEPT, storeImage } from '../harness/content.ts';
import { entrepot } from '../harness/contenders.ts';
import { request } from '../harness/http.ts';
import { interleave } from '../harness/rounds.ts';
import { comparison } from '../harness/row.ts';
import type { Server } from '../harness/server.ts';
import { load } from '../harness/wrk.ts';
import { pushImages } from './small-images.ts';

const REPOSITORY = 'library/image';
const PASSWORD = 'only for the bench';
const IMAGES = 10;

const BASIC = `Basic ${Buffer.from(`alice:${PASSWORD}`).toString('base64')}`;

/** What logins cost: Entrepot with accounts and rights beside Entrepot that asks nobody. */
export const logins: Measurement = {
  name: 'logins',
  async run(bench) {
    const open = await bench.start(entrepot(await stored(bench, 'open')));
    const users = `users:\n  alice: "${hashSync(PASSWORD, 10)}"\nacl:\n  - {account: bob, name: "x/*", actions: [pull]}\n  - {account: alice, name: "*", actions: [pull, push]}\n`;
    const asking = await bench.start(entrepot({ ...(await stored(bench, 'asking')), logins: users }));
    const bearer = `Bearer ${await tokenOf(asking)}`;
    const pulls = await interleave(bench.rounds, {
      token: pull(bench, asking, bearer),
      basic: pull(bench, asking, BASIC),
      open: pull(bench, open),
    });
    const pushes = await interleave(bench.rounds, {
      basic: push(bench, asking, BASIC),
      open: push(bench, open),
    });
    const peer = (samples: readonly number[]) => ({ name: 'without logins', samples });
    const work = 'manifest GET by tag, 32 connections';
    return [
      comparison({
        work: `${work}, with a token`,
        unit: '/s',
        ours: pulls.token,
        peer: peer(pulls.open),
        ratio: 'speed',
        bound: { kind: 'at least', value: 0.8 },
      }),
      comparison({
        work: `${work}, with a password`,
        unit: '/s',
        ours: pulls.basic,
        peer: peer(pulls.open),
        ratio: 'speed',
      }),
      comparison({
        work: `${IMAGES} small images pushed with a password`,
        unit: 's',
        ours: pushes.basic,
        peer: peer(pushes.open),
        ratio: 'cost',
        bound: { kind: 'at most', value: 1.2 },
      }),
    ];
  },
};

async function stored(bench: Bench, name: string) {
  const place = await bench.place(name);
  await storeImage(place.root, REPOSITORY, ['latest']);
  return place;
}

async function tokenOf(server: Server): Promise<string> {
  const url = `${server.origin}/v2/token?service=entrepot&scope=repository:${REPOSITORY}:pull`;
  const { status, body } = await request('GET', url, { headers: { authorization: BASIC } });
  const { token } = JSON.parse(body.toString()) as { token?: string };
  if (token === undefined) throw new Error(`a token was asked for and answered by ${status}`);
  return token;
}

function pull(bench: Bench, server: Server, authorization?: string): () => Promise<number> {
  return async () => {
    const result = await load({
      origin: server.origin,
      targets: [`/v2/${REPOSITORY}/manifests/latest`],
      connections: 32,
      seconds: bench.scale.loadSeconds,
      headers: { Accept: ACCEPT, ...(authorization === undefined ? {} : { Authorization: authorization }) },
    });
    return result.rate;
  };
}

function push(bench: Bench, server: Server, authorization = ''): () => Promise<number> {
  return async () => {
    const { seconds } = await pushImages(server, IMAGES, authorization);
    await bench.settle();
    return seconds;
  };
}
