/**
 * `npm run node-image`: builds a node image (docs/node-image.md), or records the packages of a recipe.
 * `portcullis node image sign` signs the result.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildNodeImage } from './build.ts';
import { lockFileOf, writeLock } from './packages.ts';
import { readRecipe } from './recipe.ts';

const usage = 'usage: npm run node-image -- build|lock [-f RECIPE] [-o FOLDER] [--package FILE.deb]\n';
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    file: { type: 'string', short: 'f', default: join(import.meta.dirname, 'node.yaml') },
    output: { type: 'string', short: 'o', default: join(import.meta.dirname, '../../dist/node-image') },
    package: { type: 'string' },
  },
});
const [action = 'build', ...more] = positionals;
try {
  if (more.length > 0 || !['build', 'lock'].includes(action)) throw new Error(usage.trim());
  const recipe = readRecipe(values.file);
  if (action === 'lock') {
    writeLock(recipe);
    process.stdout.write(`${lockFileOf(recipe)} written\n`);
  } else {
    const own = values.package;
    const manifest = await buildNodeImage(values.output, {
      recipe,
      ...(own === undefined ? {} : { package: own }),
    });
    process.stdout.write(
      `${values.output}: ${manifest.name} ${manifest.version}, root hash ${manifest.verity.rootHash}\n`,
    );
  }
} catch (thrown) {
  process.stderr.write(`node-image: ${(thrown as Error).message}\n`);
  process.exitCode = 1;
}
