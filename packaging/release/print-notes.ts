/**
 * `sh packaging/node packaging/release/print-notes.ts FROM [TO]`: prints the notes of a release in Markdown,
 * from the subjects of the commits between two tags. Without TO, up to HEAD.
 */
import { commitsBetween } from './history.ts';
import { releaseNotes } from './notes.ts';

const [from, to = 'HEAD'] = process.argv.slice(2);
if (from === undefined) {
  process.stderr.write('print-notes: name the tag of the last release: print-notes.ts FROM [TO]\n');
  process.exit(2);
}
let commits;
try {
  commits = commitsBetween(from, to);
} catch (error) {
  process.stderr.write(`release-notes: ${(error as Error).message}\n`);
  process.exit(4);
}
const version = to.replace(/^v(?=\d)/u, '');
process.stdout.write(releaseNotes({ version, from, to }, commits));
