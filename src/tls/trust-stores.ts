/** Where the programs of a machine look for authorities, and what puts one there. */
import { join } from 'node:path';

/** A file of a store. */
export interface StoreFile {
  readonly path: string;
  readonly text: string;
  /** It may be somebody's own: only one that begins with this line is replaced or removed. */
  readonly mark?: string;
}

export interface TrustStore {
  /** Who looks there. */
  readonly name: string;
  /** The machine has it when any of these exists. */
  readonly evidence: readonly string[];
  readonly files: readonly StoreFile[];
  /** What has to be run afterwards, with its arguments. */
  readonly command?: readonly [string, ...string[]];
  /** What is told when the file at `path` does not have `word`. */
  readonly condition?: { readonly path: string; readonly word: string; readonly advice: string };
}

/** Ways that only the user can go: what to do, in words or as a command. */
export interface ManualStep {
  readonly name: string;
  readonly command: string;
}

export interface TrustTarget {
  /** As images name it: `registry.local:5000`, without the port where it is 443. */
  readonly host: string;
  readonly pem: string;
}

/** The stores of a Linux machine. */
export function linuxStores({ host, pem }: TrustTarget): readonly TrustStore[] {
  const name = `entrepot-${host.replaceAll(/[^A-Za-z0-9.-]+/g, '-')}.crt`;
  const containerd = `/etc/containerd/certs.d/${host}`;
  return [
    {
      name: 'docker',
      evidence: ['/etc/docker', '/usr/bin/dockerd', '/usr/bin/docker'],
      files: [{ path: `/etc/docker/certs.d/${host}/ca.crt`, text: pem }],
    },
    {
      name: 'podman, skopeo, buildah',
      evidence: ['/etc/containers'],
      files: [{ path: `/etc/containers/certs.d/${host}/ca.crt`, text: pem }],
    },
    {
      name: 'containerd',
      evidence: ['/etc/containerd', '/usr/bin/containerd'],
      files: [
        { path: join(containerd, 'ca.crt'), text: pem },
        {
          path: join(containerd, 'hosts.toml'),
          text: hostsToml(host, join(containerd, 'ca.crt')),
          mark: MARK,
        },
      ],
      condition: {
        path: '/etc/containerd/config.toml',
        word: 'certs.d',
        advice:
          'for Kubernetes /etc/containerd/config.toml has to name it: config_path = "/etc/containerd/certs.d" in [plugins."io.containerd.grpc.v1.cri".registry]; ctr takes --hosts-dir',
      },
    },
    {
      name: 'the system (Debian, Ubuntu, Alpine)',
      evidence: ['/usr/sbin/update-ca-certificates'],
      files: [{ path: `/usr/local/share/ca-certificates/${name}`, text: pem }],
      command: ['/usr/sbin/update-ca-certificates'],
    },
    {
      name: 'the system (Fedora, RHEL)',
      evidence: ['/usr/bin/update-ca-trust'],
      files: [{ path: `/etc/pki/ca-trust/source/anchors/${name}`, text: pem }],
      command: ['/usr/bin/update-ca-trust'],
    },
  ];
}

const MARK = '# by entrepot trust';

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
