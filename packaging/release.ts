/**
 * `npm run release`: builds the packages of a release into dist/release. The same commit gives the same bytes
 * on every machine (docs/releasing.md).
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { buildArtifacts } from './release/artifacts.ts';

const folder = join(import.meta.dirname, '../dist/release');
rmSync(folder, { recursive: true, force: true });
for (const name of await buildArtifacts(folder, { types: true }))
  process.stdout.write(`dist/release/${name}\n`);
