/**
 * Returns the arguments of a launcher, a program that becomes the first existing of several programs: the
 * candidate paths of the command, an empty argument, the command itself. This has its own file because a
 * caller that only starts commands needs nothing else of launchers.
 * @param path the PATH of the environment; a command with a slash is not searched for
 */
export function launcherArguments(
  launcher: string,
  args: readonly string[],
  path: string | undefined,
): string[] {
  const command = args[0] ?? '';
  const folders = (path ?? '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin')
    .split(':')
    .filter((folder) => folder !== '');
  const candidates =
    command === '' ? [] : command.includes('/') ? [command] : folders.map((folder) => `${folder}/${command}`);
  return [launcher, ...candidates, '', ...args];
}
