import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bench, Measurement } from '../harness/bench.ts';
import { dockerRegistry, entrepot, entrepotExecutable } from '../harness/contenders.ts';
import type { Placement } from '../harness/contenders.ts';
import { interleave } from '../harness/rounds.ts';
import { comparison, figure } from '../harness/row.ts';
import type { Row } from '../harness/row.ts';
import { Server } from '../harness/server.ts';
import type { ServerPlan } from '../harness/server.ts';

const BOUND = { kind: 'at most', value: 0.15 } as const;

/** One attempt: whether `/v2/` answers 200 now. */
function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.write('GET /v2/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n');
    });
    const settle = (result: boolean): void => {
      resolve(result);
      socket.destroy();
    };
    socket.once('data', (data) => settle(data.toString('latin1').startsWith('HTTP/1.1 200')));
    socket.once('error', () => settle(false));
    socket.once('close', () => settle(false));
  });
}

/** Seconds from the spawn to the first 200 on `/v2/`, tried every 2 ms. */
async function startTime(planned: Promise<ServerPlan>): Promise<number> {
  const plan = await planned;
  const port = Number(new URL(plan.origin).port);
  const begin = performance.now();
  const server = await Server.spawn(plan);
  try {
    while (!(await answers(port))) {
      if (server.ended || performance.now() - begin > 20_000) {
        throw new Error(
          `${plan.name} ${server.ended ? 'ended before it answered' : 'does not answer within 20 s'}`,
        );
      }
      await sleep(2);
    }
    return (performance.now() - begin) / 1000;
  } finally {
    await server.stop();
  }
}

/** From the start of the process to its first answer, over an empty folder. */
export const start: Measurement = {
  name: 'start',
  async run(bench: Bench) {
    const place: Placement = await bench.place('entrepot');
    const peerPlace = await bench.place('docker-registry');
    const built = (await entrepotExecutable(place)) !== undefined;
    const fromExecutable = async (): Promise<ServerPlan> => {
      const plan = await entrepotExecutable(place);
      if (plan === undefined) throw new Error('dist/entrepot went away during the bench');
      return plan;
    };
    const samples = await interleave<string, number>(bench.scale.starts, {
      ours: () => startTime(entrepot(place)),
      registry: () => startTime(dockerRegistry(peerPlace)),
      ...(built ? { executable: () => startTime(fromExecutable()) } : {}),
    });
    const { ours = [], registry = [], executable } = samples;
    const rows: Row[] = [
      figure({ work: 'start to first answer, from source', unit: 's', samples: ours, bound: BOUND }),
      comparison({
        work: 'start to first answer, from source',
        unit: 's',
        ours,
        peer: { name: 'docker-registry', samples: registry },
        ratio: 'cost',
      }),
    ];
    if (executable !== undefined) {
      rows.push(
        figure({ work: 'start to first answer, executable', unit: 's', samples: executable, bound: BOUND }),
      );
    }
    return rows;
  },
};
