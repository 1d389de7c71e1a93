import type { Measurement } from '../harness/bench.ts';
import { run } from '../harness/command.ts';
import { dockerRegistry, entrepot, nginx } from '../harness/contenders.ts';
import { interleave } from '../harness/rounds.ts';
import { comparison, figure } from '../harness/row.ts';
import type { Server } from '../harness/server.ts';

const CLIENTS = 4;

/** Full handshakes a second of several `openssl s_time`, each of which makes one connection after the other. */
async function handshakes(server: Server, seconds: number): Promise<number> {
  const { host } = new URL(server.origin);
  const one = async (): Promise<number> => {
    const { stdout } = await run('openssl', ['s_time', '-connect', host, '-new', '-time', String(seconds)]);
    // The first line is about the client's own CPU time.
    const [, connections, real] = /(\d+) connections in (\d+) real seconds/.exec(stdout) ?? [];
    if (connections === undefined || real === undefined || Number(connections) === 0)
      throw new Error(`${server.origin}: no handshakes:\n${stdout}`);
    return Number(connections) / Number(real);
  };
  const rates = await Promise.all(Array.from({ length: CLIENTS }, one));
  return rates.reduce((sum, rate) => sum + rate, 0);
}

/** New connections by TLS, none resumed, with a certificate of ECDSA P-256: what a crowd of clients costs that come at once. */
export const tlsHandshakes: Measurement = {
  name: 'handshakes',
  async run(bench) {
    const certificate = await bench.certificate();
    const place = await bench.place('entrepot', certificate);
    const peerPlace = await bench.place('docker-registry', certificate);
    const rate = (server: Server) => () => handshakes(server, bench.scale.loadSeconds);
    const samples = await interleave(bench.rounds, {
      ours: rate(await bench.start(entrepot(place))),
      nginx: rate(await bench.start(nginx(place))),
      registry: rate(await bench.start(dockerRegistry(peerPlace))),
    });
    const work = `TLS handshakes, ${CLIENTS} clients`;
    const beside = (name: string, theirs: readonly number[]) =>
      comparison({ work, unit: '/s', ours: samples.ours, peer: { name, samples: theirs }, ratio: 'speed' });
    return [
      figure({ work, unit: '/s', samples: samples.ours, bound: { kind: 'at least', value: 1000 } }),
      beside('nginx', samples.nginx),
      beside('docker-registry', samples.registry),
    ];
  },
};
