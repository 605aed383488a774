import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const root = join(import.meta.dirname, '..', '..');

test('docs/guarantees.md names only tests and scripts that exist', () => {
  const text = readFileSync(join(root, 'docs/guarantees.md'), 'utf8');
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    readonly scripts: Readonly<Record<string, string>>;
  };
  const files = [...text.matchAll(/`([\w./-]+\.test\.ts)`/gu)].map(([, file]) => file ?? '');
  assert.ok(files.length > 30);
  for (const file of files) assert.ok(existsSync(join(root, file)), file);
  for (const [, script = ''] of text.matchAll(/`npm run ([\w:-]+)/gu)) assert.ok(script in scripts, script);
});
