/**
 * `npm run release:publish -- --policy FILE`: pushes what `npm run release` built, signs it by the scripts of
 * packaging/ci/shell, whose variables name the signer, and verifies it by the policy (docs/releasing.md).
 */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { publishRelease } from './sign.ts';

const folder = join(import.meta.dirname, '../../dist/release');
const { values } = parseArgs({ options: { policy: { type: 'string' }, registry: { type: 'string' } } });

/** The registry that the chart of the release names. */
function builtFor(): string {
  const { buildDefinition } = JSON.parse(readFileSync(join(folder, 'provenance.json'), 'utf8')) as {
    readonly buildDefinition: { readonly externalParameters: { readonly registry: string } };
  };
  return buildDefinition.externalParameters.registry;
}

if (values.policy === undefined) {
  process.stderr.write('release:publish: name the policy that the release must satisfy: --policy FILE\n');
  process.exit(2);
}
try {
  const published = await publishRelease({
    folder,
    registry: values.registry ?? builtFor(),
    policy: resolve(values.policy),
    environment: process.env,
  });
  for (const reference of published) process.stdout.write(`${reference}\n`);
} catch (error) {
  process.stderr.write(`release:publish: ${(error as Error).message}\n`);
  process.exit(4);
}
