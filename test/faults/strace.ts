import { type RegistryOptions, type RunningRegistry, startRegistry } from '../harness/running-registry.ts';
import { entrepotCommand } from '../harness/entrepot.ts';
import { requireTool } from '../harness/tools.ts';

/**
 * Starts Entrepot with one worker under strace, with system calls tampered with as its `-e inject=` says. strace
 * counts `when=` for each thread; the runtime is told to have one thread for files, so that this counts all.
 */
export async function startInjected(
  inject: string,
  options: RegistryOptions = {},
): Promise<RunningRegistry> {
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
    args: ['-f', '-qqq', '-o', '/dev/null', '-e', `trace=${calls}`, '-e', `inject=${inject}`, '--', command, ...args, 'serve', file],
  }));
  // strace keeps SIGTERM to itself.
  const dispose = async () => {
    await running.kill9();
    await running.dispose();
  };
  return { ...running, dispose };
}