import assert from 'node:assert/strict';
import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { bundleInto } from '../test/fixtures/built-bundle.ts';
import { workerSources } from './build.ts';
import { isWholeProgram } from './whole-programs.ts';

test('the daemon and the Workers that it starts are one file each, and start only such Workers', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-whole-'));
  try {
    const dist = join(folder, 'dist');
    await bundleInto(dist);
    const files = globSync('*.whole.js', { cwd: dist });
    assert.ok(files.includes('daemon.whole.js'));
    for (const file of files) {
      // A text may continue on the next line.
      const text = readFileSync(join(dist, file), 'utf8').replaceAll('\\\n', '');
      // V8 keeps a text with one other character in twice the memory.
      assert.doesNotMatch(text, /[^\0-\x7f]/u, `${file} is not ASCII; write a character as \\u2014`);
      const imported = [...text.matchAll(/(?:from|import) ?\(?"(\.{1,2}\/[^"]*)"/gu)].map(([, path]) => path);
      assert.doesNotMatch(text, /from"node:/u, `${file} imports a built-in module (builtin-modules.ts)`);
      // The other commands, for which nobody asks the daemon's program.
      const expected = file === 'daemon.whole.js' ? ['./portcullis.js'] : [];
      assert.deepEqual([...new Set(imported)], expected, file);
    }
    for (const source of workerSources()) {
      const entry = readFileSync(join(dist, `whole-workers/${basename(source, '.ts')}.js`), 'utf8');
      const [, program = ''] = /import\('\.\.\/(.*)'\)/u.exec(entry) ?? [];
      assert.deepEqual(globSync(program, { cwd: dist }), [program], entry);
    }
    const all = globSync('{*.js,*/*.js}', { cwd: dist });
    const whole = all.filter((path) => isWholeProgram(path));
    assert.equal(whole.length, files.length + workerSources().length);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
