import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { packagesOfTypes } from './type-packages.ts';

test('a package that the declarations of an entry point need is found, also in a file that they import', () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-types-'));
  const write = (file: string, text: string): void => writeFileSync(join(folder, file), text);
  try {
    mkdirSync(join(folder, 'a'));
    write('index.d.ts', "import type { Socket } from 'node:net';\nexport { one } from './a/one.js';\n");
    write('a/one.d.ts', "export declare const one: import('koffi').Type;\nexport * from '../two.ts';\n");
    write('two.d.ts', "export type { Logger } from 'pino';\nexport * from './index.js';\n");
    write('other.d.ts', "export * from 'undici';\n");
    assert.deepEqual(packagesOfTypes(folder, ['index.d.ts']), ['a/one.d.ts: koffi', 'two.d.ts: pino']);
    assert.deepEqual(packagesOfTypes(folder, ['a/one.d.ts', 'other.d.ts']), [
      ...['a/one.d.ts: koffi', 'other.d.ts: undici', 'two.d.ts: pino'],
    ]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
