import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { folderCycles, longFunctions } from './structure.ts';

const root = join(import.meta.dirname, '../..');

function tracked(...where: readonly string[]): string[] {
  const listed = execFileSync('git', ['ls-files', '--', ...where], { cwd: root, encoding: 'utf8' });
  return listed.split('\n').filter((file) => /\.tsx?$/u.test(file) && existsSync(join(root, file)));
}

function write(t: TestContext, files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-structure-'));
  t.after(() => rmSync(folder, { recursive: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

describe('functions', () => {
  it('have at most 150 lines, in tests and benchmarks as well', () => {
    assert.deepEqual(longFunctions(tracked('*.ts', '*.tsx'), root, 150), []);
  });

  it('are found if they are longer, whatever their form; the body of describe may be', (t) => {
    const lines = 'act();\n'.repeat(3);
    const files = {
      'a.ts': `function long() {\n${lines}}\nfunction short() {\nact();\n}\n`,
      'b.ts': `const made = () => {\n${lines}};\nclass A {\n  method() {\n${lines}}\n}\n`,
      'c.ts': `describe('all', () => {\nit('one', () => {\n${lines}});\n});\ndescribe.skip('more', () => {\n${lines}});\n`,
    };
    assert.deepEqual(longFunctions(Object.keys(files), write(t, files), 4), [
      'a.ts:1 long has 5 lines',
      'b.ts:1 made has 5 lines',
      'b.ts:7 method has 5 lines',
      'c.ts:2 a function for it() has 5 lines',
    ]);
  });
});

describe('folders of tests and benchmarks', () => {
  it('do not import each other in a circle', () => {
    assert.deepEqual(folderCycles(tracked('test', 'bench'), root), []);
  });

  it('are found if they do, also for types, and over a third folder', (t) => {
    const files = {
      'test/run.ts': "import './parts/part.ts';\nimport './parts/inner/end.ts';\n",
      'test/scene.ts': "import { x } from './other/fine.ts';\n",
      'test/parts/part.ts': "import './inner/end.ts';\n",
      'test/parts/inner/end.ts': "import type { Scene } from '../../scene.ts';\n",
      'test/other/fine.ts': "export const x = await import('node:fs');\n",
      'bench/run.ts': "import '../test/run.ts';\n",
    };
    assert.deepEqual(folderCycles(Object.keys(files), write(t, files)), [
      [
        'test/run.ts -> test/parts/part.ts',
        'test/run.ts -> test/parts/inner/end.ts',
        'test/parts/part.ts -> test/parts/inner/end.ts',
        'test/parts/inner/end.ts -> test/scene.ts',
      ],
    ]);
  });
});
