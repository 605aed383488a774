/**
 * Returns the arguments that run a command in its own PID namespace with its own /proc. A runtime that
 * signals a wrong pid there hits no other process, and every process that the command starts ends with it.
 * Needs unshare(1) of util-linux, and root.
 */
export function inOwnPidNamespace(command: readonly string[]): readonly [string, ...string[]] {
  return ['/usr/bin/unshare', '--pid', '--fork', '--kill-child', '--mount-proc', '--', ...command];
}
