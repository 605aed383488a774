import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { programFindings } from './programs.ts';

/** Writes a package with one program of each kind, which does not exist. */
function packageWith(t: TestContext, sources: boolean): string {
  const folder = mkdtempSync(join(tmpdir(), 'pc-programs-'));
  t.after(() => rmSync(folder, { recursive: true }));
  for (const name of ['packaging', 'cli']) mkdirSync(join(folder, name));
  writeFileSync(
    join(folder, 'packaging/debian-packages'),
    `monitor|/none/monitor|daemon|install|monitors|https://example.com/1
shell|/none/shell|story|install|the content of images|https://example.com/2
token|/none/token|tests|install|a software token|https://example.com/3
`,
  );
  if (sources) writeFileSync(join(folder, 'cli/main.ts'), '');
  return folder;
}
const summary = (root: string): readonly string[] =>
  programFindings(root).map(({ topic, state, found }) => `${topic} ${state}: ${found}`);

test('an installed package lacks no program of the tests, and those of the quickstart are one finding', (t) => {
  assert.deepEqual(summary(packageWith(t, false)), [
    'monitor missing: not found',
    'quickstart degraded: lacks shell',
  ]);
});

test('a checkout also reports which programs the tests lack', (t) => {
  assert.deepEqual(summary(packageWith(t, true)).slice(1), [
    'quickstart degraded: lacks shell',
    'tests degraded: lacks token',
  ]);
});
