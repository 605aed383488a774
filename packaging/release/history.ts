import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import manifest from '../../package.json' with { type: 'json' };
import { releaseNotes } from './notes.ts';
import type { Commit } from './notes.ts';

const root = join(import.meta.dirname, '../..');

/** Abbreviated hashes have this length in every clone. By default git chooses it by the number of objects. */
const hashLength = 12;

/**
 * Returns the notes of the release that is checked out, in Markdown.
 * @param previous the tag of the last release; undefined: the nearest tag `v…` before the commit, if any
 * @throws Error if git cannot list the commits
 */
export function historyNotes(previous?: string): string {
  const { version } = manifest;
  const from = previous ?? nearestTag();
  const commits = from === undefined ? [] : commitsBetween(from, 'HEAD');
  return releaseNotes({ version, from, to: `v${version}` }, commits);
}

/**
 * Returns the commits that `to` has and `from` has not, the oldest first, without merges.
 * @throws Error with what git says, if a revision is unknown
 */
export function commitsBetween(from: string, to: string): readonly Commit[] {
  const { status, stdout, stderr } = git(
    ...['log', '--reverse', '--no-merges', `--abbrev=${hashLength}`, '--format=%h%x09%s'],
    ...['--end-of-options', `${from}..${to}`],
  );
  if (status !== 0) throw new Error(`list the commits ${from}..${to}: ${stderr.trim()}`);
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [hash = '', ...subject] = line.split('\t');
      return { hash, subject: subject.join('\t') };
    });
}

/** Returns undefined if no tag is before the commit, or if the commit has no parent. */
function nearestTag(): string | undefined {
  const { status, stdout } = git('describe', '--tags', '--abbrev=0', '--match=v[0-9]*', 'HEAD^');
  return status === 0 ? stdout.trim() : undefined;
}

function git(...args: readonly string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync('git', args, { cwd: root, encoding: 'utf8', maxBuffer: 2 ** 26 });
}
