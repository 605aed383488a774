import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { build } from 'esbuild';
import { builtinModules } from './builtin-modules.ts';

describe('a program of one file', () => {
  let folder: string;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-builtin-'));
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });

  /** Returns what a program writes, as a module of its own or as one file. */
  async function run(text: string, isOneFile: boolean): Promise<string> {
    const [source, out] = [join(folder, 'source.mjs'), join(folder, 'out.mjs')];
    writeFileSync(source, text);
    if (isOneFile)
      await build({
        entryPoints: [source],
        outfile: out,
        bundle: true,
        format: 'esm',
        platform: 'node',
        plugins: [builtinModules],
      });
    return execFileSync(process.execPath, [isOneFile ? out : source], { encoding: 'utf8' });
  }

  it('reads no export of a built-in module that it does not use', async () => {
    const text = `import { inspect } from 'node:util';
      process.stdout.write(inspect(process.moduleLoadList.some((each) => each.includes('parse_args'))));`;
    assert.deepEqual([await run(text, false), await run(text, true)], ['true', 'false']);
  });

  it('gets the same exports by name, by default and as a namespace, with and without a scheme', async () => {
    const text = `import { join as joined, posix } from 'node:path';
      import path from 'path';
      import * as all from 'node:path';
      import { readFile } from 'node:fs/promises';
      import { DatabaseSync } from 'node:sqlite';
      const same = [joined === path.join, all.join === joined, all.default === path, posix === path.posix];
      process.stdout.write([...same, typeof readFile, typeof DatabaseSync].join(' '));`;
    assert.deepEqual(await run(text, true), await run(text, false));
  });
});
