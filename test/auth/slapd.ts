/** A real LDAP directory on loopback, with three accounts and two groups. */
import { mkdir, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { type Daemon, startDaemon } from '../harness/daemon.ts';
import { freePort } from '../harness/ports.ts';
import { requireTool, run } from '../harness/tools.ts';
import type { Workspace } from '../harness/workspace.ts';

export const BASE = 'dc=example,dc=test';

const settings = (folder: string) => `dn: cn=config
objectClass: olcGlobal
cn: config
olcTLSCertificateFile: ${folder}/ldap.pem
olcTLSCertificateKeyFile: ${folder}/ldap.key

dn: cn=module{0},cn=config
objectClass: olcModuleList
cn: module{0}
olcModulePath: /usr/lib/ldap
olcModuleLoad: back_mdb.la
olcModuleLoad: memberof.la

dn: cn=schema,cn=config
objectClass: olcSchemaConfig
cn: schema

include: file:///etc/ldap/schema/core.ldif
include: file:///etc/ldap/schema/cosine.ldif
include: file:///etc/ldap/schema/inetorgperson.ldif

dn: olcDatabase={1}mdb,cn=config
objectClass: olcDatabaseConfig
objectClass: olcMdbConfig
olcDatabase: {1}mdb
olcDbDirectory: ${folder}/db
olcSuffix: ${BASE}
olcRootDN: cn=admin,${BASE}
olcRootPW: admin
olcDbIndex: objectClass,uid,member eq

dn: olcOverlay={0}memberof,olcDatabase={1}mdb,cn=config
objectClass: olcOverlayConfig
objectClass: olcMemberOf
olcOverlay: {0}memberof
`;

const person = (uid: string, mail: string) => `dn: uid=${uid},${BASE}
objectClass: inetOrgPerson
uid: ${uid}
cn: ${uid}
sn: X
mail: ${mail}
userPassword: s3cret

`;

const CONTENT = `dn: ${BASE}
objectClass: dcObject
objectClass: organization
o: example
dc: example

${person('alice', 'team@example.test')}${person('bob', 'team@example.test')}${person('jörg', 'j@example.test')}dn: cn=devs,${BASE}
objectClass: groupOfNames
cn: devs
member: uid=alice,${BASE}

dn: cn=dév\\,ops,${BASE}
objectClass: groupOfNames
cn: dév,ops
member: uid=jörg,${BASE}
`;

export interface Slapd {
  readonly port: number;
  /** Path of the certificate that it shows for StartTLS; its own authority. */
  readonly certificate: string;
  stop(): Promise<void>;
}

/** Starts a directory in the workspace. @throws Error that names the apt-get command when slapd is missing */
export async function startSlapd(workspace: Workspace): Promise<Slapd> {
  const folder = await workspace.folder('ldap');
  for (const name of ['db', 'config']) await mkdir(`${folder}/${name}`);
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'];
  const files = ['-keyout', `${folder}/ldap.key`, '-out', `${folder}/ldap.pem`];
  await run('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', ...subject, ...files]);
  await writeFile(`${folder}/config.ldif`, settings(folder));
  await writeFile(`${folder}/content.ldif`, CONTENT);
  await run('slapadd', ['-n0', '-F', `${folder}/config`, '-l', `${folder}/config.ldif`]);
  const port = await freePort();
  const url = `ldap://127.0.0.1:${port}`;
  const daemon: Daemon = await startDaemon(
    requireTool('slapd'),
    ['-d', '0', '-F', `${folder}/config`, '-h', url],
    { ready: () => answers(port) },
  );
  const admin = ['-D', `cn=admin,${BASE}`, '-w', 'admin'];
  await run('ldapadd', ['-x', '-H', url, ...admin, '-f', `${folder}/content.ldif`]);
  return {
    port,
    certificate: `${folder}/ldap.pem`,
    async stop() {
      await daemon.stop();
    },
  };
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}
