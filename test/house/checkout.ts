import { spawnSync } from 'node:child_process';

/**
 * Folders of ignored files that a test run may write: the bundle, the coverage and the installed packages.
 */
const outputs = /^!! (?:dist|dist\.new|coverage|node_modules)\/$/u;

/**
 * Returns the files of a checkout that differ from the commit: changed, new and ignored files, as lines of
 * `git status --porcelain`, without the known outputs. Returns nothing for a tree that is no git checkout.
 */
export function untracked(root: string): string[] {
  // Without -uall, git shows a new folder as one line, and hides a file that is added to it. `matching` shows
  // an ignored folder as one line, and does not read it.
  const args = [
    '-C',
    root,
    '--no-optional-locks',
    'status',
    '--porcelain',
    '-z',
    '--no-renames',
    '-uall',
    '--ignored=matching',
  ];
  const run = spawnSync('git', args, { encoding: 'utf8', maxBuffer: 2 ** 26 });
  if (run.status !== 0) return [];
  return run.stdout.split('\0').filter((line) => line !== '' && !outputs.test(line));
}

/**
 * Returns the paths that tests wrote into a checkout: all that {@link untracked} reports now and not
 * `before`.
 */
export function writtenInto(root: string, before: readonly string[]): string[] {
  return untracked(root)
    .filter((line) => !before.includes(line))
    .map((line) => line.slice(3));
}
