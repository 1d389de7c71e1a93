/** Where /proc hides other users' processes, a living owner of a lock is not taken for one that has died. */
import { expect, test } from 'bun:test';
import { isRunning, PROCESS } from '../../src/process-identity.ts';
import { run } from '../harness/tools.ts';

const AS_NOBODY = `${import.meta.dirname}/running-as-nobody.ts`;

test('a process that cannot be seen is not known to have ended; one that has is', async () => {
  const [host, pid = '', start] = PROCESS.split('-');
  const names = [PROCESS, `${host}-4194999-${start}`, `${host}-${pid}-1`];
  expect(names.map((name) => isRunning(name))).toEqual([true, false, false]);
  const asNobody = async (options: string) => {
    const mount = `mount -t proc -o ${options} proc /proc && exec "$@"`;
    const program = [process.execPath, AS_NOBODY, ...names];
    const { stdout } = await run('unshare', ['--mount', 'sh', '-c', mount, 'sh', ...program]);
    return JSON.parse(stdout) as unknown;
  };
  expect(await asNobody('hidepid=0')).toEqual([true, false, false]);
  expect(await asNobody('hidepid=2')).toEqual(['unknown', false, 'unknown']);
});
