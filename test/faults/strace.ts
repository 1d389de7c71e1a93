import { type RegistryOptions, type RunningRegistry, startRegistry } from '../harness/running-registry.ts';
import { entrepotCommand } from '../harness/entrepot.ts';
import { requireTool } from '../harness/tools.ts';
import { descendantsOf, untilEnded } from './worker-pids.ts';

/**
 * Starts Entrepot with one worker under strace, which tampers with system calls as its `-e inject=` says, e.g.
 * `rename:signal=KILL:when=3`. strace counts `when=` for each thread of a process by itself. Renames all come from
 * the main thread; for the syncs the runtime is asked to have as few threads as it can.
 */
export async function startInjected(inject: string, options: RegistryOptions = {}): Promise<RunningRegistry> {
  const strace = requireTool('strace');
  const { command, args } = await entrepotCommand();
  const env = {
    REGISTRY_HTTP_WORKERS: '1',
    UV_THREADPOOL_SIZE: '1',
    GOMAXPROCS: '1',
    ...options.env,
  };
  const calls = inject.split(':')[0] ?? '';
  const running = await startRegistry('injected', { ...options, env }, (file) => ({
    command: strace,
    args: [
      '-f',
      '-qqq',
      '-o',
      '/dev/null',
      '-e',
      `trace=${calls}`,
      '-e',
      `inject=${inject}`,
      '--',
      command,
      ...args,
      'serve',
      file,
    ],
  }));
  // strace keeps SIGTERM to itself.
  const kill9 = async () => {
    const all = descendantsOf(running.pid);
    await running.kill9();
    await untilEnded(all);
  };
  const dispose = async () => {
    await kill9();
    await running.dispose();
  };
  return { ...running, kill9, dispose };
}
