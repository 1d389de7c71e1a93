/** What directories ask for by plain HTTP, and what nobody gets there. */
import { expect, test } from 'bun:test';
import { mkdir, writeFile } from 'node:fs/promises';
import { createPlainHandler } from '../../src/protocol/plain-handler.ts';
import { AcmeFolder } from '../../src/tls/acme-folder.ts';
import { ChallengeFiles } from '../../src/tls/challenge-files.ts';
import { failureOf } from '../harness/failure-of.ts';
import { createWorkspace } from '../harness/workspace.ts';

test('tokens are no way to other files', async () => {
  const workspace = await createWorkspace('challenges');
  const folder = new AcmeFolder(workspace.path);
  const files = new ChallengeFiles(folder.path);
  await folder.accountKey();
  await mkdir(`${folder.path}/challenges`, { recursive: true });
  await writeFile(`${folder.path}/challenges/secret-of-good-length`, 'no token');
  await writeFile(`${folder.path}/challenges/a.entrepot.example.pem`, 'no token either');
  const token = 'a-token_of-good-length';
  await files.putToken(token, `${token}.thumbprint`);
  const ask = (path: string, method = 'GET') =>
    createPlainHandler(
      { token: (asked) => files.token(asked), hosts: () => [] },
      443,
    )(new Request(`http://a.entrepot.example/.well-known/acme-challenge/${path}`, { method }));
  expect(await (await ask(token)).text()).toBe(`${token}.thumbprint`);
  const head = await ask(token, 'HEAD');
  expect([head.status, await head.text()]).toEqual([200, '']);
  expect((await ask(token, 'POST')).status).toBe(404);
  for (const path of [
    'secret-of-good-length',
    'a.entrepot.example.pem',
    'a.entrepot.example',
    `${token}.token`,
    `${token}%00`,
    `x/../${token}.token`,
    '..%2faccount.key',
    '..%2f..%2f..%2f..%2fetc%2fpasswd',
    'a'.repeat(300),
    '',
  ]) {
    const { status } = await ask(path);
    expect({ path, status }).toEqual({ path, status: 404 });
  }
  expect(await files.token(`../challenges/${token}`)).toBeUndefined();
  expect(files.certificate('../account')).toBeUndefined();
  expect(files.certificate('../challenges/a.entrepot.example')).toBeUndefined();
  expect(files.certificate('a.entrepot.example')).toBe('no token either');
  expect(files.certificate('..')).toBeUndefined();
  expect((await failureOf(Promise.resolve().then(() => files.putToken('../../x', 'y')))).message).toContain(
    'token',
  );
  await files.removeToken(token);
  expect((await ask(token)).status).toBe(404);
  await workspace.remove();
});
