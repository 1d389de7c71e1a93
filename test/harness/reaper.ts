/**
 * Ends processes and removes folders that a test process has left when it is gone, however it went: `bun test`
 * runs no exit handlers, and a crash or Ctrl-C leaves no time for any. A shell waits at the end of a pipe,
 * which the system closes for us.
 */
import { type ChildProcess, spawn } from 'node:child_process';

/** Reads `process PID`, `folder PATH` and the same with `no-` before it; at the end of its input it cleans up. */
const SCRIPT = `
trap '' HUP INT TERM
IFS='
'
kept=
while IFS= read -r line; do
  case $line in
    no-*) rest=; for one in $kept; do [ "$one" = "\${line#no-}" ] || rest="$rest$IFS$one"; done; kept=$rest ;;
    *) kept="$kept$IFS$line" ;;
  esac
done
for one in $kept; do case $one in 'process '*) kill -s KILL -- "-\${one#process }" ;; esac; done
for one in $kept; do case $one in 'folder '*) rm -rf --one-file-system -- "\${one#folder }" ;; esac; done
`;

let shell: ChildProcess | undefined;

function tell(line: string): void {
  if (shell === undefined) {
    // A session of its own: the signals that end the test process must not end its reaper.
    shell = spawn('/bin/sh', ['-c', SCRIPT], { stdio: ['pipe', 'ignore', 'ignore'], detached: true });
    shell.unref();
  }
  shell.stdin?.write(`${line}\n`);
}

/** From now on, SIGKILL this process group if the test process ends first. */
export function reapProcess(pid: number): void {
  tell(`process ${pid}`);
}

/** The process group has ended. To be told at once, since its number can be given to another. */
export function processEnded(pid: number): void {
  tell(`no-process ${pid}`);
}

/** From now on, remove this folder if the test process ends first. */
export function reapFolder(path: string): void {
  tell(`folder ${path}`);
}

/** The folder is removed. */
export function folderRemoved(path: string): void {
  tell(`no-folder ${path}`);
}
