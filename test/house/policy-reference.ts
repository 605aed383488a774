import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { format, resolveConfig } from 'prettier';
import { waiversSchema } from '../../trust/gate/waiver-schema.ts';
import { reasonCodes } from '../../trust/policy/reason-codes.ts';
import { trustPolicySchema } from '../../trust/policy/schema.ts';
import { policyTestSchema } from '../../trust/policy/testing/policy-test-schema.ts';

/**
 * Writes the published schemas and the table of codes in docs/policy.md: `sh packaging/node
 * test/house/policy-reference.ts`.
 */
const docs = new URL('../../docs/', import.meta.url);
const options = (await resolveConfig(new URL('policy.md', docs))) ?? {};
mkdirSync(new URL('schemas/', docs), { recursive: true });
for (const [name, schema] of [
  ['trust-policy.json', trustPolicySchema],
  ['policy-test.json', policyTestSchema],
  ['waivers.json', waiversSchema],
] as const)
  writeFileSync(
    new URL(`schemas/${name}`, docs),
    await format(JSON.stringify(schema), { ...options, parser: 'json' }),
  );

const file = new URL('policy.md', docs);
const rows = Object.entries(reasonCodes).map(([code, meaning]) => `| \`${code}\` | ${meaning} |`);
const table = ['| code | meaning |', '| --- | --- |', ...rows].join('\n');
const text = readFileSync(file, 'utf8').replace(
  /(<!-- codes -->)[^]*(<!-- end of codes -->)/,
  (_, start: string, end: string) => `${start}\n\n${table}\n\n${end}`,
);
writeFileSync(file, await format(text, { ...options, parser: 'markdown' }));
