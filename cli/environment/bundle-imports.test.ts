import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { runProgram } from '../../test/fixtures/command.ts';

const source = join(import.meta.dirname, 'bundle-imports.ts');

describe('imports between the files of a bundle', () => {
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-imports-'));
    mkdirSync(join(folder, 'dist/workers'), { recursive: true });
    const write = (name: string, text: string): void => writeFileSync(join(folder, name), text);
    write('dist/package.json', '{"type":"module"}\n');
    write(
      'dist/main.js',
      `const { resolveBundleImports } = await import(${JSON.stringify(source)});
resolveBundleImports(import.meta.url);
const { said } = await import(process.argv[2]);
console.log(said);\n`,
    );
    write('dist/chunk.js', "import { sep } from 'node:path';\nexport const said = `chunk ${sep}`;\n");
    write('dist/workers/deep.js', "export { said } from '../chunk.js';\n");
    write('dist/to-package.js', "export { default as said } from 'other';\n");
    write(
      'dist/to-json.js',
      "import data from './data.json' with { type: 'json' };\nexport const said = data.said;\n",
    );
    write('dist/data.json', '{"said":"data"}\n');
    mkdirSync(join(folder, 'node_modules/other'), { recursive: true });
    write('node_modules/other/package.json', '{"main":"./index.cjs"}\n');
    write('node_modules/other/index.cjs', "module.exports = require('./part.js');\n");
    write('node_modules/other/part.js', "module.exports = 'package';\n");
  });
  after(() => rmSync(folder, { recursive: true }));

  /** Runs `main.js`, which has the hook and then imports `path`. */
  const run = (path: string): ReturnType<typeof runProgram> =>
    runProgram(process.execPath, [join(folder, 'dist/main.js'), path], {});

  for (const [path, said] of [
    ['./chunk.js', 'chunk /'],
    ['./workers/deep.js', 'chunk /'],
    ['./to-package.js', 'package'],
    ['./to-json.js', 'data'],
  ] as const)
    it(`load ${path}`, async () => {
      const { code, stdout, stderr } = await run(path);
      assert.deepEqual([code, stdout], [0, `${said}\n`], stderr);
    });

  it('name the file that is missing', async () => {
    const { code, stderr } = await run('./missing.js');
    assert.notEqual(code, 0);
    assert.match(stderr, /missing\.js/u);
  });
});
