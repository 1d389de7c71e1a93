import { describe, expect, test } from 'bun:test';
import { load, minimal } from './config-file.ts';

describe('what would open what the operator closed is refused', () => {
  test.each(['s3', 's3: {bucket: b}', 'azure', 'gcs', 'swift', 'oss'])('storage: %s', async (driver) => {
    const yaml = `version: 0.1\nstorage:\n  ${driver.includes(':') ? driver : `${driver}:`}\n`;
    const { problems } = await load(yaml);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toStartWith(
      `config.yml:3:3: storage.${driver.split(':')[0]}: is not supported yet: `,
    );
    const word = await load(`version: 0.1\nstorage: ${driver.split(':')[0]}\n`);
    expect(word.problems).toHaveLength(1);
  });

  test('a driver by variable', async () => {
    const { problems } = await load('version: 0.1', {
      REGISTRY_STORAGE: 's3',
      REGISTRY_STORAGE_S3_BUCKET: 'b',
    });
    expect(problems).toHaveLength(1);
    expect(problems[0]).toStartWith('REGISTRY_STORAGE: storage.s3: is not supported yet: ');
  });
});

describe('what does no harm is told', () => {
  const lines = [
    'notifications: {endpoints: [{name: n, url: u}]}',
    'redis: {addr: a}',
    'health: {file: [{file: f}]}',
    'middleware: {storage: [{name: redirect}]}',
    'reporting: {newrelic: {licensekey: k}}',
    'policy: {repository: {classes: [image]}}',
  ];
  test.each(lines)('%s', async (line) => {
    const name = line.split(':')[0] ?? '';
    expect(await load(minimal(line))).toMatchObject({
      problems: [],
      warnings: [`config.yml:3:1: ${name}: is not supported yet and has no effect`],
    });
  });

  const inner = [
    ['http: {h2c: {enabled: true}}', '8: http.h2c'],
    ['log: {hooks: [{type: mail}]}', '7: log.hooks'],
    ['log: {reportcaller: true}', '7: log.reportcaller'],
    ['compatibility: {schema1: {enabled: true}}', '17: compatibility.schema1'],
  ] as const;
  test.each(inner)('%s', async (line, where) => {
    expect((await load(minimal(line))).warnings).toEqual([
      `config.yml:3:${where}: is not supported yet and has no effect`,
    ]);
  });
});

describe('what asks for nothing is passed over', () => {
  const lines = [
    'auth:',
    'auth: {}',
    'auth: none',
    'auth: {none: }',
    'proxy: {remoteurl: "", username: u}',
    'proxy:',
    'notifications: {events: {includereferences: false}, endpoints: []}',
    'health: {storagedriver: {enabled: false, interval: 10s, threshold: 3}}',
    'redis: {}',
    'middleware: {registry: [], storage: }',
    'http: {tls: {clientcas: [], letsencrypt: {cachefile: "", hosts: []}, ciphersuites: []}}',
    'http: {tls: {minimumtls: tls1.0}}',
    'http: {tls: {minimumtls: tls1.2}}',
    'http: {debug: {addr: ""}}',
    'compatibility: {schema1: {enabled: false, signingkeyfile: /k}}',
  ];
  test.each(lines)('%s', async (line) => {
    expect(await load(minimal(line))).toMatchObject({ problems: [], warnings: [] });
  });
});
