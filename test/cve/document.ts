import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { sections } from './table.ts';
import type { Row } from './row.ts';

const file = join(import.meta.dirname, '../../docs/security-advisories.md');

/** docs/security-advisories.md: the table for readers. */
export function document(): string {
  const parts = sections.map(
    ({ title, rows }) => `## ${title}\n\n| what | flaw or way in | held by |\n| --- | --- | --- |\n${rows.map(line).join('\n')}\n`,
  );
  return `# Published flaws, and the tests that hold them

Each row is a flaw that was published about a program like this one, or about what it builds on, and the tests that fail if Portcullis has
it. Where a flaw cannot concern Portcullis, the row says why. The table is code, \`test/cve/\`; \`npm run advisories:update\` writes this
page, and \`test/house/cve.test.ts\` checks that every test exists. Names hold \`\${…}\` where one test stands for several cases.

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
