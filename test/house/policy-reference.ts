import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { waiversSchema } from '../../trust/gate/waiver-schema.ts';
import { reasonCodes } from '../../trust/policy/reason-codes.ts';
import { trustPolicySchema } from '../../trust/policy/schema.ts';
import { policyTestSchema } from '../../trust/policy/testing/policy-test-schema.ts';
import { formatted } from './format.ts';

/**
 * Writes the published schemas and the table of codes in docs/policy.md: `sh packaging/node
 * test/house/policy-reference.ts`.
 */
const docs = new URL('../../docs/', import.meta.url);
mkdirSync(new URL('schemas/', docs), { recursive: true });
for (const [name, schema] of [
  ['trust-policy.json', trustPolicySchema],
  ['policy-test.json', policyTestSchema],
  ['waivers.json', waiversSchema],
] as const) {
  const schemaFile = new URL(`schemas/${name}`, docs);
  writeFileSync(schemaFile, formatted(schemaFile, JSON.stringify(schema)));
}

const file = new URL('policy.md', docs);
const rows = Object.entries(reasonCodes).map(([code, meaning]) => `| \`${code}\` | ${meaning} |`);
const table = ['| code | meaning |', '| --- | --- |', ...rows].join('\n');
const text = readFileSync(file, 'utf8').replace(
  /(<!-- codes -->)[^]*(<!-- end of codes -->)/,
  (_, start: string, end: string) => `${start}\n\n${table}\n\n${end}`,
);
writeFileSync(file, formatted(file, text));
