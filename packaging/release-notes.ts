/**
 * `sh packaging/node packaging/release-notes.ts FROM [TO]`: prints the notes of a release in Markdown, from
 * the subjects of the commits between two tags. Without TO, up to HEAD.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { releaseNotes } from './release/notes.ts';

const [from, to = 'HEAD'] = process.argv.slice(2);
if (from === undefined) {
  process.stderr.write('release-notes: name the tag of the last release: release-notes.ts FROM [TO]\n');
  process.exit(2);
}
const { status, stdout, stderr } = spawnSync(
  'git',
  ['log', '--reverse', '--no-merges', '--format=%h%x09%s', '--end-of-options', `${from}..${to}`],
  { cwd: join(import.meta.dirname, '..'), encoding: 'utf8', maxBuffer: 2 ** 26 },
);
if (status !== 0) {
  process.stderr.write(`release-notes: list the commits ${from}..${to}: ${stderr.trim()}\n`);
  process.exit(4);
}
const commits = stdout
  .split('\n')
  .filter((line) => line !== '')
  .map((line) => {
    const [hash = '', ...subject] = line.split('\t');
    return { hash, subject: subject.join('\t') };
  });
const version = to.replace(/^v(?=\d)/u, '');
process.stdout.write(releaseNotes({ version, from, to }, commits));
