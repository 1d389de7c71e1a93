import { expect, test } from 'bun:test';
import type { ClientCertificate } from '../../src/auth/access.ts';
import { CertificateAccounts, type CertificateRule } from '../../src/auth/client-certificates.ts';

const certificate: ClientCertificate = {
  commonName: 'builder',
  organizationalUnits: [],
  alternativeNames: ['URI:spiffe://example.org/ci', 'DNS:ci.example'],
  fingerprint: 'ab'.repeat(32),
};

function accountOf(rules: readonly Partial<CertificateRule>[], more: Partial<ClientCertificate> = {}) {
  const accounts = new CertificateAccounts(rules.map((rule) => ({ account: 'ci', groups: ['g'], ...rule })));
  return accounts.authenticate({ kind: 'certificate', certificate: { ...certificate, ...more } });
}

test('the first rule of which all patterns match counts', async () => {
  const rules = [
    { commonName: 'builder', alternativeName: 'DNS:other.example', account: 'one' },
    { commonName: 'build*', alternativeName: 'URI:spiffe://example.org/*', account: 'two' },
    { commonName: '*', account: 'three' },
  ];
  expect(await accountOf(rules)).toEqual({ account: 'two', groups: ['g'], method: 'certificate' });
  expect(await accountOf(rules, { commonName: 'else' })).toMatchObject({ account: 'three' });
  expect(await accountOf([{ fingerprint: 'ab'.repeat(32) }])).toMatchObject({ account: 'ci' });
});

test('a name by the certificate is a usable one', async () => {
  const rules = [{ account: 'ci/${commonName}' }];
  expect(await accountOf(rules)).toMatchObject({ account: 'ci/builder' });
  for (const commonName of ['', 'a\nb', 'a, OU=admin', 'a*', 'a\0', 'x'.repeat(200)])
    expect([commonName, await accountOf(rules, { commonName })]).toEqual([commonName, undefined]);
  expect(await accountOf([{ account: '${serialNumber}' }])).toBeUndefined();
});

test('of no rule, and of no certificate, it knows nobody', async () => {
  expect(await accountOf([])).toBeUndefined();
  expect(await accountOf([{ fingerprint: 'AB'.repeat(32) }])).toBeUndefined();
  expect(await accountOf([{ alternativeName: 'ci.example' }])).toBeUndefined();
  const accounts = new CertificateAccounts([{ account: 'ci', groups: [] }]);
  expect(await accounts.authenticate({ kind: 'password', account: 'ci', password: 'x' })).toBeUndefined();
  expect(await accounts.authenticate({ kind: 'bearer', token: 'x' })).toBeUndefined();
});
