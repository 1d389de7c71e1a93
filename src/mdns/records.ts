/** What is announced: a host and its services (RFC 6762, RFC 6763). */
import type { Answer } from 'dns-packet';

export interface Service {
  /** Such as `_docker-registry._tcp`. */
  readonly type: string;
  readonly port: number;
  /** `key=value`. */
  readonly txt: readonly string[];
}

export interface Announced {
  /** Without `.local`. */
  readonly name: string;
  readonly addresses: readonly string[];
  readonly services: readonly Service[];
}

/** Seconds: of records that name the host, and of the others (RFC 6762 §10). */
const HOST_TTL = 120;
const OTHER_TTL = 4_500;

/** All types of services, as browsers of the network ask for them (RFC 6763 §9). */
const ALL_SERVICES = '_services._dns-sd._udp.local';

export function hostOf(name: string): string {
  return `${name}.local`;
}

/** The addresses of the host: records of which there must be no others (`flush`). */
export function addressRecords({ name, addresses }: Announced): Answer[] {
  return addresses.map((data) => ({
    name: hostOf(name),
    type: data.includes(':') ? 'AAAA' : 'A',
    ttl: HOST_TTL,
    flush: true,
    data,
  }));
}

export function serviceRecords(announced: Announced): Answer[] {
  const target = hostOf(announced.name);
  return announced.services.flatMap(({ type, port, txt }): Answer[] => {
    const service = `${type}.local`;
    const instance = `${announced.name}.${service}`;
    return [
      { name: ALL_SERVICES, type: 'PTR', ttl: OTHER_TTL, data: service },
      { name: service, type: 'PTR', ttl: OTHER_TTL, data: instance },
      {
        name: instance,
        type: 'SRV',
        ttl: HOST_TTL,
        flush: true,
        data: { port, target, priority: 0, weight: 0 },
      },
      { name: instance, type: 'TXT', ttl: OTHER_TTL, flush: true, data: txt.map((one) => Buffer.from(one)) },
    ];
  });
}

/** The records that answer a question; `ANY` asks for all of a name. */
export function answersTo(
  announced: Announced,
  questions: readonly { readonly name: string; readonly type: string }[],
): Answer[] {
  const all = [...addressRecords(announced), ...serviceRecords(announced)];
  return all.filter((record) =>
    questions.some(
      ({ name, type }) =>
        name.toLowerCase() === record.name.toLowerCase() && (type === 'ANY' || type === record.type),
    ),
  );
}

/** What saves who asked the next question: the addresses behind a service, and the service behind its name. */
export function additionalTo(announced: Announced, answers: readonly Answer[]): Answer[] {
  const names = new Set(answers.map(({ name, type }) => `${name} ${type}`));
  const wanted = answers.some(({ type }) => type === 'PTR')
    ? [...serviceRecords(announced), ...addressRecords(announced)]
    : answers.some(({ type }) => type === 'SRV')
      ? addressRecords(announced)
      : [];
  return wanted.filter(({ name, type }) => type !== 'PTR' && !names.has(`${name} ${type}`));
}

/** The name after a conflict: `registry`, `registry-2`, `registry-3` (RFC 6762 §9). */
export function nextName(name: string): string {
  const [, stem = name, number] = /^(.*?)(?:-(\d{1,4}))?$/.exec(name) ?? [];
  return `${stem}-${number === undefined ? 2 : Number(number) + 1}`;
}
