import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { runProgram } from '../fixtures/command.ts';
import type { Ended } from '../fixtures/command.ts';

const root = join(import.meta.dirname, '../..');

/** Differences of the other checkout that must not affect the built files. */
const elsewhere = 'umask 077; hostname elsewhere;';
const otherSettings = { TZ: 'Pacific/Kiritimati', LC_ALL: 'tr_TR.UTF-8' };

/** Makes a clone at `folder` with one commit on top, which contains the current sources. */
export function checkOut(folder: string): void {
  const git = (...words: readonly string[]): string =>
    execFileSync('git', words, { encoding: 'utf8', maxBuffer: 2 ** 26, env: committer, stdio: 'pipe' });
  git('clone', '--quiet', '--shared', root, folder);
  const changed = (...words: readonly string[]): string[] =>
    git('-C', root, 'ls-files', '-z', '--exclude-standard', ...words)
      .split('\0')
      .filter((path) => path !== '');
  for (const path of changed('--deleted')) rmSync(join(folder, path), { force: true });
  for (const path of changed('--modified', '--others').filter((one) => existsSync(join(root, one)))) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    cpSync(join(root, path), join(folder, path), { verbatimSymlinks: true, force: true });
  }
  git('-C', folder, 'add', '--all');
  git('-C', folder, 'commit', '--quiet', '--allow-empty', '--no-verify', '--message', 'Release the sources');
  mkdirSync(join(folder, 'node_modules'), { recursive: true });
}

/** The same commit in every checkout. */
const committer = {
  PATH: process.env['PATH'],
  HOME: process.env['HOME'],
  ...{ GIT_AUTHOR_NAME: 'release', GIT_AUTHOR_EMAIL: 'release@example.com' },
  ...{ GIT_COMMITTER_NAME: 'release', GIT_COMMITTER_EMAIL: 'release@example.com' },
  ...{ GIT_AUTHOR_DATE: '1700000000 +0000', GIT_COMMITTER_DATE: '1700000000 +0000' },
};

/**
 * Runs a command in a checkout, with the npm packages of this one. esbuild follows a symbolic link to its
 * target, so they are mounted, in their own namespace. `other`: as another user's machine has it.
 */
export function inCheckout(
  folder: string,
  words: readonly string[],
  { env = {}, other = false }: { readonly env?: NodeJS.ProcessEnv; readonly other?: boolean } = {},
): Promise<Ended> {
  const script = `${other ? elsewhere : ''} mount --bind "$1" node_modules; shift; exec "$@"`;
  const { PATH, HOME } = process.env;
  return runProgram(
    'unshare',
    ['--mount', '--uts', 'sh', '-euc', script, 'sh', join(root, 'node_modules'), ...words],
    { PATH, HOME, ...(other ? otherSettings : {}), ...env },
    folder,
  );
}
