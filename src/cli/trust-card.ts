/** The lines to paste by which a machine trusts a registry's own authority, with what each machine has already. */
import type { Config } from '../config/config.ts';
import { CONTAINERD_CERTS as CERTS } from '../tls/trust-stores.ts';

/**
 * A command for a POSIX shell that fetches the authority's certificate over a connection that proves nothing, and goes on
 * with `install` when the certificate has the fingerprint; it is `"$c"` there. Of an answer with several that one alone is
 * looked at, and installed. It ends with 1, and a line on standard error, where anything of that fails.
 * @param place `registry.local:5000`
 * @param fingerprint SHA-256, in hexadecimal with colons
 * @param trusted what it says at the end, in a form that a shell takes as one text
 */
export function checkedFetch(
  place: string,
  fingerprint: string,
  install: string,
  trusted = 'trusted',
): string {
  return [
    `c=$(curl -fsSk ${quoted(`https://${place}/root-ca.crt`)} | openssl x509)`,
    `echo "$c" | openssl x509 -noout -fingerprint -sha256 | grep -q =${fingerprint}`,
    `${install} && echo ${trusted} || { echo 'NOT TRUSTED: another certificate, or an error above' >&2; false; }`,
  ].join(' && ');
}

/** containerd looks into its folder only where it is told to, by each of its clients in another way. */
const CONTAINERD_TRUSTS = `'trusted, by who is told where: ctr images pull --hosts-dir ${CERTS}, and for Kubernetes config_path = "${CERTS}" in config.toml, below registry of its CRI plugin'`;

/** The part of the card that a start prints. */
export function trustLines({ http }: Config, place: string, fingerprint: string): readonly string[] {
  const into = (folder: string, name: string, { after = '', trusted = 'trusted' } = {}) => {
    const write = `sudo mkdir -p ${quoted(folder)} && echo "$c" | sudo tee ${quoted(`${folder}/${name}`)} > /dev/null`;
    return checkedFetch(place, fingerprint, `${write}${after}`, trusted);
  };
  // A name of our own, as `ca.crt` may be somebody's; all of these clients read every `*.crt` there.
  const beside = (folder: string, trusted = 'trusted') =>
    into(`${folder}/certs.d/${place}`, 'entrepot.crt', { trusted });
  const system = `entrepot-${place.replaceAll(/[^A-Za-z0-9.-]+/g, '-')}.crt`;
  const keychain = `echo "$c" > ${system} && sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain ${system}`;
  const plain = http.tls?.plainAddr;
  return [
    `  trust   on each machine, for the clients that it has; each line looks for the SHA-256`,
    `          ${fingerprint}`,
    `          docker      ${beside('/etc/docker')}`,
    `          podman      ${beside('/etc/containers')}`,
    `          containerd  ${beside('/etc/containerd', CONTAINERD_TRUSTS)}`,
    `          Debian      ${into('/usr/local/share/ca-certificates', system, { after: ' && sudo update-ca-certificates' })}`,
    `          Fedora      ${into('/etc/pki/ca-trust/source/anchors', system, { after: ' && sudo update-ca-trust' })}`,
    `          macOS       ${checkedFetch(place, fingerprint, keychain)}`,
    ...(plain === undefined || 'unix' in plain
      ? []
      : [
          `          iOS         open http://${place.replace(/:\d+$/, '')}:${plain.port}/root-ca.mobileconfig, and compare the SHA-256 in its details`,
        ]),
    `          or all at once, by a copy of the program (dist/entrepot): sudo ./entrepot trust ${quoted(place)} --fingerprint ${fingerprint}`,
  ];
}

/** Brackets, of an IPv6 address, are a pattern to shells. */
function quoted(text: string): string {
  return text.includes('[') ? `'${text}'` : text;
}
