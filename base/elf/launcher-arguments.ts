/**
 * The arguments of a launcher, a program that becomes the first of several that is there: the places where the command may be, an empty one, the
 * command itself. Stands here, by itself, since who only starts commands needs nothing else of launchers.
 * @param path of the environment; a command with a slash is not sought
 */
export function launcherArguments(launcher: string, args: readonly string[], path: string | undefined): string[] {
  const command = args[0] ?? '';
  const folders = (path ?? '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin').split(':').filter((folder) => folder !== '');
  const candidates = command === '' ? [] : command.includes('/') ? [command] : folders.map((folder) => `${folder}/${command}`);
  return [launcher, ...candidates, '', ...args];
}
