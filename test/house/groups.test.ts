import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ownScripts, testGroups, testsIn } from './groups.ts';

test('each test file is in one group of npm test, or has its own script', () => {
  const folders = [...Object.values(testGroups).flat(), ...Object.keys(ownScripts)];
  const found = folders.flatMap((folder) => globSync(testsIn(folder)));
  const all = globSync('**/*.test.ts', { exclude: ['node_modules/**', 'dist/**'] });
  assert.ok(all.length > 500);
  assert.deepEqual(all.filter((file) => !found.includes(file)).sort(), [], 'these never run');
  assert.equal(new Set(found).size, found.length, 'a file is in two groups');
});

test('each folder of tests exists, and its own script runs it', () => {
  const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: Record<string, string> };
  for (const folder of [...Object.values(testGroups).flat(), ...Object.keys(ownScripts)])
    assert.ok(globSync(testsIn(folder)).length > 0, folder);
  for (const [folder, script] of Object.entries(ownScripts))
    assert.ok(scripts[script]?.includes(`${folder}/`), script);
});
