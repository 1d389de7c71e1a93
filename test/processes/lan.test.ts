/** `serve --lan` as a newcomer starts it, in a network of its own, in every form that the program is run in. */
import { expect, test } from 'bun:test';
import { writeFile } from 'node:fs/promises';
import { entrepotCommand } from '../harness/entrepot.ts';
import { run } from '../harness/tools.ts';
import { createWorkspace } from '../harness/workspace.ts';

const SCRIPT = `
ip link set lo up
cd "$1"; shift
: > out.log
"$@" serve --lan >> out.log 2>&1 & P=$!
for i in $(seq 100); do grep -q 'announced as' out.log && break; sleep 0.1; done
curl -s http://127.0.0.1:5080/root-ca.crt > root.crt
curl -s --cacert root.crt --resolve registry.local:5000:127.0.0.1 https://registry.local:5000/v2/_catalog
echo
PASSWORD=$(sed -n 's/.*password \\([^ ]*\\) (shown.*/\\1/p' out.log)
for login in '' "-u admin:$PASSWORD"; do
  curl -s --cacert root.crt $login -o /dev/null -w '%{http_code}\\n' -X POST https://127.0.0.1:5000/v2/a/blobs/uploads/
done
kill $P; wait $P; echo "exit $?"
`;

test('one command: TLS, a name, an account; everybody pulls, accounts push', async () => {
  const workspace = await createWorkspace('lan');
  try {
    const { command, args } = await entrepotCommand();
    const script = workspace.join('script.sh');
    await writeFile(script, SCRIPT);
    const user = process.getuid?.() === 0 ? [] : ['--map-root-user'];
    const { stdout } = await run('unshare', [
      ...user,
      '--net',
      'sh',
      script,
      workspace.path,
      command,
      ...args,
    ]);
    expect(stdout).toBe('{"repositories":[]}\n401\n202\nexit 0\n');
    const again = await run('unshare', [...user, '--net', 'sh', script, workspace.path, command, ...args]);
    // The account is there, and its password is not told again.
    expect(again.stdout).toBe('{"repositories":[]}\n401\n401\nexit 0\n');
  } finally {
    await workspace.remove();
  }
}, 300_000);

test('a file says what it means itself', async () => {
  const { command, args } = await entrepotCommand();
  expect(run(command, [...args, 'serve', '--lan', 'config.yml'])).rejects.toThrow(
    '--lan is for a start without a file',
  );
});
