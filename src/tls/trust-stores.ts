/** Where the programs of a machine look for authorities, and what puts one there. */
import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { namesFolder, registrySection } from './containerd-config.ts';

/** The folder that containerd's documents name; it is read by who is told of it. */
export const CONTAINERD_CERTS = '/etc/containerd/certs.d';

/** What has to name the certificate beside it. Only one of our own is replaced or removed. */
export interface StoreSettings {
  readonly path: string;
  /** @param certificate the path that the certificate has been given */
  readonly textFor: (certificate: string) => string;
}

export interface TrustStore {
  /** Who looks there. */
  readonly name: string;
  /** The machine has it when any of these exists. */
  readonly evidence: readonly string[];
  /** Where the certificate goes: the first of these that is free or ours. */
  readonly certificate: readonly [string, ...string[]];
  readonly settings?: StoreSettings;
  /** What has to be run afterwards, with its arguments. */
  readonly command?: readonly [string, ...string[]];
  /** What is told when it is not met by the text of the file at `path`, which is `''` where the file is missing. */
  readonly condition?: {
    readonly path: string;
    readonly isMet: (text: string) => boolean;
    readonly advice: (text: string) => string;
  };
}

/** Ways that only the user can go: what to do, in words or as a command. */
export interface ManualStep {
  readonly name: string;
  readonly command: string;
}

/**
 * The stores of a Linux machine.
 * @param host as images name it: `registry.local:5000`, without the port where it is 443
 */
export function linuxStores(host: string): readonly TrustStore[] {
  const name = `entrepot-${host.replaceAll(/[^A-Za-z0-9.-]+/g, '-')}.crt`;
  // Of each of these folders every `*.crt` is read, and `hosts.toml` names the one that is meant.
  const beside = (folder: string) =>
    [join(folder, host, 'ca.crt'), join(folder, host, 'entrepot.crt')] as const;
  return [
    {
      name: 'docker',
      evidence: ['/etc/docker', '/usr/bin/dockerd', '/usr/bin/docker'],
      certificate: beside('/etc/docker/certs.d'),
    },
    {
      name: 'podman, skopeo, buildah',
      evidence: ['/etc/containers'],
      certificate: beside('/etc/containers/certs.d'),
    },
    {
      name: 'containerd',
      evidence: ['/etc/containerd', '/usr/bin/containerd'],
      certificate: beside(CONTAINERD_CERTS),
      settings: {
        path: `${CONTAINERD_CERTS}/${host}/hosts.toml`,
        textFor: (certificate) => hostsToml(host, certificate),
      },
      condition: {
        path: '/etc/containerd/config.toml',
        isMet: (text) => namesFolder(text, CONTAINERD_CERTS),
        advice: (text) =>
          `for Kubernetes /etc/containerd/config.toml has to name it: config_path = "${CONTAINERD_CERTS}" in ${registrySection(text)}; ctr takes --hosts-dir ${CONTAINERD_CERTS}`,
      },
    },
    {
      name: 'the system (Debian, Ubuntu, Alpine)',
      evidence: ['/usr/sbin/update-ca-certificates'],
      certificate: [`/usr/local/share/ca-certificates/${name}`],
      command: ['/usr/sbin/update-ca-certificates'],
    },
    {
      name: 'the system (Fedora, RHEL)',
      evidence: ['/usr/bin/update-ca-trust'],
      certificate: [`/etc/pki/ca-trust/source/anchors/${name}`],
      command: ['/usr/bin/update-ca-trust'],
    },
  ];
}

const MARK = '# by entrepot trust';

/** The certificate as it is written: what stands before the first `-----BEGIN` is a remark to all that read such files. */
export function marked(pem: string): string {
  return `${MARK}\n${pem}`;
}

/**
 * Whether a file was written by us, and has nothing of somebody else's in it. An authority that Entrepot made counts as
 * ours also where it was put there by hand.
 */
export function isOurs(path: string, text: string): boolean {
  if (!path.endsWith('.crt')) return text.startsWith(MARK);
  const isOne = text.split('-----BEGIN CERTIFICATE-----').length === 2;
  return isOne && (text.startsWith(MARK) || OWN_AUTHORITY.test(readCertificate(text)?.subject ?? ''));
}

/** What local-ca.ts calls an authority. */
const OWN_AUTHORITY = /^CN=Entrepot \d{4}-\d\d-\d\d [0-9a-f]{6}$/;

/** Whether one of the certificates of the file is the given one. */
export function holds(text: string, pem: string): boolean {
  const wanted = readCertificate(pem)?.fingerprint256;
  return text
    .split(/(?=-----BEGIN CERTIFICATE-----)/)
    .some((part) => wanted !== undefined && readCertificate(part)?.fingerprint256 === wanted);
}

function readCertificate(text: string): X509Certificate | undefined {
  try {
    return new X509Certificate(text);
  } catch {
    return undefined;
  }
}

/** containerd reads the folder where `config_path` in its own configuration names `/etc/containerd/certs.d`. */
function hostsToml(host: string, ca: string): string {
  return `${MARK}\nserver = "https://${host}"\n\n[host."https://${host}"]\n  capabilities = ["pull", "resolve", "push"]\n  ca = "${ca}"\n`;
}

/** What has to be done by hand on other systems. `file` holds the certificate. */
export function manualSteps(host: string, file: string): readonly ManualStep[] {
  return [
    {
      name: 'macOS keychain (Docker Desktop takes it from there, after a restart)',
      command: `sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain ${file}`,
    },
    {
      name: 'Docker on macOS, for this user',
      command: `mkdir -p ~/.docker/certs.d/${host} && cp ${file} ~/.docker/certs.d/${host}/ca.crt`,
    },
    { name: 'Windows, as administrator', command: `certutil -addstore -f ROOT ${file}` },
  ];
}

/** How that is undone. */
export function manualRemoval(host: string, file: string): readonly ManualStep[] {
  return [
    { name: 'macOS keychain', command: `sudo security remove-trusted-cert -d ${file}` },
    { name: 'Docker on macOS, for this user', command: `rm -r ~/.docker/certs.d/${host}` },
    {
      name: 'Windows, as administrator',
      command:
        'certutil -store ROOT, and with the serial number that it shows: certutil -delstore ROOT SERIAL',
    },
  ];
}
