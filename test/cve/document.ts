import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { sections } from './table.ts';
import type { Row } from './row.ts';

const file = join(import.meta.dirname, '../../docs/security-advisories.md');

/** Returns the text of docs/security-advisories.md, the table for readers. */
export function document(): string {
  const parts = sections.map(
    ({ title, rows }) =>
      `## ${title}\n\n| id | flaw or entry point | tests |\n| --- | --- | --- |\n${rows.map(line).join('\n')}\n`,
  );
  return `# Published flaws and their tests

Each row lists a published flaw of a similar program or of a dependency, and the tests that fail if Portcullis has the flaw. If a flaw
cannot concern Portcullis, the row says why. The table is generated from \`test/cve/\` by \`npm run advisories:update\`, and
\`test/house/cve.test.ts\` checks that every test exists. A title contains \`\${…}\` if one title serves several cases.

\`portcullis doctor\` lists the flaws of the runtimes that a node has installed.

${parts.join('\n')}`;
}

function line({ id, what, held = [], absent }: Row): string {
  const tests = held.map(([path, name]) => `${code(path)}: ${code(name)}`).join('<br>');
  return `| ${cell(id)} | ${cell(what)} | ${absent === undefined ? tests : `not applicable: ${cell(absent)}`} |`;
}

const cell = (text: string): string => text.replaceAll('|', '\\|');
const code = (text: string): string => `\`${cell(text)}\``;

if (process.argv[1] === import.meta.filename) writeFileSync(file, document());
