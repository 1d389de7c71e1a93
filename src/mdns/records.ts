/** What is announced: a host and its services (RFC 6762, RFC 6763). */
import type { Answer } from 'dns-packet';
import { recordKey } from './message.ts';

export interface Service {
  /** Such as `_docker-registry._tcp`. */
  readonly type: string;
  readonly port: number;
  /** `key=value`. */
  readonly txt: readonly string[];
}

/** What is announced on one channel. */
export interface Announced {
  /** Without `.local`. */
  readonly name: string;
  /** Those that are valid on its link, and no others (RFC 6762 §6.2); that of the link alone is one of them. */
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

/** A service's name among those of its kind. */
export function instanceOf(name: string, { type }: Service): string {
  return `${name}.${type}.local`;
}

export function serviceRecords(announced: Announced): Answer[] {
  const target = hostOf(announced.name);
  return announced.services.flatMap((service): Answer[] => {
    const { port, txt } = service;
    const type = `${service.type}.local`;
    const instance = instanceOf(announced.name, service);
    return [
      { name: ALL_SERVICES, type: 'PTR', ttl: OTHER_TTL, data: type },
      { name: type, type: 'PTR', ttl: OTHER_TTL, data: instance },
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

export function allRecords(announced: Announced): Answer[] {
  return [...addressRecords(announced), ...serviceRecords(announced)];
}

/** The names that nobody else may have. */
export function uniqueNames({ name, services }: Announced): string[] {
  return [hostOf(name), ...services.map((service) => instanceOf(name, service))];
}

/** The records that only one may have, as they are claimed (RFC 6762 §8.2): without the bit that they are. */
export function claims(announced: Announced): Answer[] {
  return allRecords(announced)
    .filter(isUnique)
    .map((record) => ({ ...record, flush: false }) as Answer);
}

/** Whether nobody else may have such a record of that name; of the others everybody has his own. */
export function isUnique(record: Answer): boolean {
  return record.type !== 'PTR';
}

/** Of each name of ours, what records it has: so that nobody waits for the others (RFC 6762 §6.1). */
function absences(announced: Announced): Answer[] {
  const of = (name: string, ttl: number, rrtypes: string[]): Answer => ({
    name,
    type: 'NSEC',
    ttl,
    flush: true,
    data: { nextDomain: name, rrtypes },
  });
  const { addresses, services, name } = announced;
  const kinds = [
    ...(addresses.some((address) => !address.includes(':')) ? ['A'] : []),
    ...(addresses.some((address) => address.includes(':')) ? ['AAAA'] : []),
  ];
  return [
    ...(kinds.length === 0 ? [] : [of(hostOf(name), HOST_TTL, kinds)]),
    ...services.map((service) => of(instanceOf(name, service), OTHER_TTL, ['TXT', 'SRV'])),
  ];
}

/** The records that answer the questions; `ANY` asks for all of a name. What is not there is said so. */
export function answersTo(
  announced: Announced,
  questions: readonly { readonly name: string; readonly type: string }[],
): Answer[] {
  const all = allRecords(announced);
  const found = questions.flatMap(({ name, type }) => {
    const ofName = (record: Answer) => record.name.toLowerCase() === name.toLowerCase();
    const found = all.filter((record) => ofName(record) && (type === 'ANY' || type === record.type));
    return found.length > 0 ? found : absences(announced).filter(ofName);
  });
  const once = new Map(found.map((record) => [recordKey(record), record]));
  return [...once.values()];
}

/** What saves who asked the next question: the addresses behind a service, and the service behind its name. */
export function additionalTo(announced: Announced, answers: readonly Answer[]): Answer[] {
  const has = new Set(answers.map(recordKey));
  const instances = new Set(answers.map((answer) => (answer.type === 'PTR' ? answer.data : '')));
  const services = serviceRecords(announced).filter(({ name }) => instances.has(name));
  const isHost = services.length > 0 || answers.some(({ type }) => ADDRESSING.has(type));
  const wanted = [
    ...services,
    ...(isHost ? addressRecords(announced) : []),
    ...absences(announced).filter(({ name }) => isHost && name === hostOf(announced.name)),
  ];
  return wanted.filter((record) => !has.has(recordKey(record)));
}

/** Who asks for one of them will ask for the host's (other) addresses. */
const ADDRESSING = new Set(['SRV', 'A', 'AAAA']);

/** The name after a conflict: `registry`, `registry-2`, `registry-3` (RFC 6762 §9). */
export function nextName(name: string): string {
  const [, stem = name, number] = /^(.*?)(?:-(\d{1,4}))?$/.exec(name) ?? [];
  return `${stem}-${number === undefined ? 2 : Number(number) + 1}`;
}
