import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { withoutDoors } from './through-doors.ts';

const folder = mkdtempSync(join(tmpdir(), 'portcullis-doors-'));
after(() => rmSync(folder, { recursive: true }));

for (const [file, text] of Object.entries({
  'network/index.ts': `export { ask, type Answer } from './client.ts';
export type { Engine } from './engine.ts';
export {
  begin as start,
  ended,
} from './engine.ts';
export { list } from './tables/index.ts';
export { parse } from 'yaml';
export * from './constants.ts';
`,
  'network/tables/index.ts': `export { listAll as list } from './list.ts';\n`,
})) {
  mkdirSync(dirname(join(folder, file)), { recursive: true });
  writeFileSync(join(folder, file), text);
}

const importer = join(folder, 'command/show.ts');
const at = (file: string): string => join(folder, 'network', file);
const replaced = (source: string): string => withoutDoors(importer, source, new Map());

test('an import through a door names the file that exports it', () => {
  assert.equal(
    replaced(`import { ask } from '../network/index.ts';\n`),
    `import { ask } from '${at('client.ts')}';\n`,
  );
});

test('a renamed export keeps the name of the importer', () => {
  assert.equal(
    replaced(`import { start as run, ended } from '../network/index.ts';`),
    `import { begin as run, ended } from '${at('engine.ts')}';`,
  );
});

test('a name is followed through several doors', () => {
  assert.equal(
    replaced(`import { list } from '../network/index.ts';`),
    `import { listAll as list } from '${at('tables/list.ts')}';`,
  );
});

test('types load no file, and the next statements stay on their lines', () => {
  assert.equal(
    replaced(`import {\n  ask,\n  type Answer,\n} from '../network/index.ts';\nask();\n`),
    `import { ask } from '${at('client.ts')}';\n\n\n\nask();\n`,
  );
});

test('a door that exports from other doors names their files', () => {
  assert.equal(
    replaced(`export { list as all } from '../network/index.ts';`),
    `export { listAll as all } from '${at('tables/list.ts')}';`,
  );
});

test('names of packages, and names that a door does not list, stay with the door', () => {
  assert.equal(
    replaced(`import { parse, limit } from '../network/index.ts';`),
    `import { parse, limit } from '${at('index.ts')}';`,
  );
});

test('other statements stay as they are', () => {
  const source = `import type { Engine } from '../network/index.ts';
import * as network from '../network/index.ts';
const later = await import('../network/index.ts');
import { other } from './other.ts';
`;
  assert.equal(replaced(source), source);
});

test('a later import through a door names the files that export its names', () => {
  assert.equal(
    replaced(`  const { ask, start,\n    ended } = await import('../network/index.ts');`),
    `  const { ask } = await import('${at('client.ts')}'), { begin: start, ended } = await import('${at('engine.ts')}')\n;`,
  );
});

test('a later import of a whole door stays', () => {
  const source = `const network = await import('../network/index.ts');`;
  assert.equal(replaced(source), source);
});
