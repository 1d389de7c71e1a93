/** What an operator can do about a certificate that could not be had. */
import { DirectoryProblem } from './acme-order.ts';
import type { Responder } from './responders.ts';

const BY_TYPE: Readonly<Record<string, string>> = {
  unreachable:
    'can this machine reach http.tls.letsencrypt.directoryurl? A proxy is named by HTTPS_PROXY; a directory of a private network needs its authority in http.tls.letsencrypt.ca',
  rateLimited: 'the directory was asked too often: wait; other settings or restarts do not help',
  clock: 'set the clock of this machine; if it is right, the directory signs for too short a time',
  rejectedIdentifier: 'the directory does not sign for a name of http.tls.letsencrypt.hosts: take it out',
  externalAccountRequired:
    'the directory wants http.tls.letsencrypt.eab, which it gives to who has an account there',
  caa: 'the CAA records of the domain forbid this directory: add it to them, or change http.tls.letsencrypt.directoryurl',
  invalidContact: 'http.tls.letsencrypt.email is not taken: correct it, or leave it out',
  unsupportedContact: 'http.tls.letsencrypt.email is not taken: correct it, or leave it out',
};

const BY_CHALLENGE: Readonly<Record<Responder['type'], string>> = {
  'http-01':
    'each name of http.tls.letsencrypt.hosts has to lead here by DNS, and port 80 there to http.tls.plainaddr, also through firewalls',
  'tls-alpn-01':
    'each name of http.tls.letsencrypt.hosts has to lead here by DNS, and port 443 there to http.addr without another end of TLS before it',
  'dns-01':
    'http.tls.letsencrypt.hook has to end when all servers of the zone have the record, which is to be beside others of its name',
};

/** One sentence for the log. */
export function adviceFor(problem: unknown, challenge: Responder['type']): string {
  const type = problem instanceof DirectoryProblem ? problem.type : '';
  return BY_TYPE[type] ?? BY_CHALLENGE[challenge];
}
