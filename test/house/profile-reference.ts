import { readFileSync, writeFileSync } from 'node:fs';
import { CATALOG, LINT_CODES, profileSchema } from '../../entitlements/index.ts';
import { formatted } from './format.ts';

/**
 * Writes the schema of profiles and the tables of docs/profiles.md: `sh packaging/node
 * test/house/profile-reference.ts`.
 */
const docs = new URL('../../docs/', import.meta.url);
const file = new URL('profiles.md', docs);
const schemaFile = new URL('schemas/entitlement-profile.json', docs);
writeFileSync(schemaFile, formatted(schemaFile, JSON.stringify(profileSchema)));

const catalog = [...CATALOG.values()].map(({ name, title, risk, argument }) => {
  const written = argument === undefined ? name : `${name}=${argument.example}`;
  return `| \`${written}\` | ${risk} | ${title} |`;
});
const codes = Object.entries(LINT_CODES).map(([code, meaning]) => `| \`${code}\` | ${meaning} |`);
const tables: Readonly<Record<string, readonly string[]>> = {
  catalog: ['| entitlement | risk | what it means |', '| --- | --- | --- |', ...catalog],
  codes: ['| code | meaning |', '| --- | --- |', ...codes],
};
let text = readFileSync(file, 'utf8');
for (const [name, rows] of Object.entries(tables)) {
  const [start, end] = [`<!-- ${name} -->`, `<!-- end of ${name} -->`];
  const [before, after] = [text.indexOf(start) + start.length, text.indexOf(end)];
  text = `${text.slice(0, before)}\n\n${rows.join('\n')}\n\n${text.slice(after)}`;
}
writeFileSync(file, formatted(file, text));
