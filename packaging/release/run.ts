/**
 * `npm run release`: builds all that a release consists of into dist/release (docs/releasing.md). The
 * same commit and options give the same bytes on every machine. `npm run release:publish` publishes it.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildRelease } from './build.ts';
import { exampleRegistry } from './cluster-files.ts';

const { values } = parseArgs({
  options: {
    registry: { type: 'string', default: exampleRegistry },
    source: { type: 'string', default: 'https://portcullis.dev/source' },
    builder: { type: 'string', default: 'https://portcullis.dev/release/builder' },
    previous: { type: 'string' },
    'gpg-key': { type: 'string' },
    'without-images': { type: 'boolean', default: false },
  },
});
const { registry, source, builder, previous, 'gpg-key': gpgKey } = values;
const paths = await buildRelease(join(import.meta.dirname, '../../dist/release'), {
  ...{ registry, source, builder, images: !values['without-images'] },
  ...(previous === undefined ? {} : { previous }),
  ...(gpgKey === undefined ? {} : { gpgKey }),
});
for (const path of paths) process.stdout.write(`dist/release/${path}\n`);
