import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { standIns } from './stand-ins.ts';

const root = join(import.meta.dirname, '../..');
/**
 * The imports of each module of the product. A stand-in for an import that does not exist would leave the
 * real part in the simulation.
 */
const imports = globSync('{base,cni-plugins,runtime}/**/*.ts', { cwd: root }).map((file) => ({
  path: `/${file}`,
  specifiers: [
    ...readFileSync(join(root, file), 'utf8').matchAll(/^(?:import|export) [^;]*?from '([^']+)';$/gm),
  ].map(([, name = '']) => name),
}));

for (const { of, imported, standIn } of standIns)
  test(`${standIn} replaces an import of a module that exists`, () => {
    assert.ok(existsSync(join(import.meta.dirname, standIn)));
    assert.ok(
      imports.some(({ path, specifiers }) => of.test(path) && specifiers.some((name) => imported.test(name))),
    );
  });
