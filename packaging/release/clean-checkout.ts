import { spawnSync } from 'node:child_process';

/**
 * Refuses a checkout that has changed or new files: the provenance would name a commit that they are not part
 * of. Files that git ignores, such as what npm installed, are not part of the sources.
 * @param root the folder of the checkout
 * @throws Error that names the first of the files, or with what git says
 */
export function requireCleanCheckout(root: string): void {
  const words = ['-C', root, '--no-optional-locks', 'status', '--porcelain', '--untracked-files=all'];
  const { status, stdout, stderr, error } = spawnSync('git', words, {
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  });
  if (status !== 0) throw new Error(`list the changes in ${root}: ${error?.message ?? stderr.trim()}`);
  const [first, ...others] = stdout.split('\n').filter((line) => line !== '');
  if (first === undefined) return;
  const more = others.length === 0 ? '' : ` and ${others.length} other files`;
  throw new Error(
    `build a release from ${root}: ${first.slice(3)}${more} differ from the commit; commit or remove them`,
  );
}
