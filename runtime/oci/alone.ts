/**
 * The words of a command in a PID namespace of its own, with its own /proc: a runtime that signals a wrong number meets nobody there, and all that
 * it starts ends with the command. Needs unshare(1) of util-linux and root.
 */
export function alone(command: readonly string[]): readonly [string, ...string[]] {
  return ['/usr/bin/unshare', '--pid', '--fork', '--kill-child', '--mount-proc', '--', ...command];
}
