import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { processIdentity } from '../../base/process/index.ts';
import { claimFolder } from './instance-lock.ts';

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-claim-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

test('a folder that a living process holds is refused, by name', async (t) => {
  const file = join(folderOf(t), 'daemon.json');
  writeFileSync(file, JSON.stringify(processIdentity(1)));
  await assert.rejects(claimFolder(file), { code: 'RUNTIME_ROOT_IN_USE' });
});

for (const [what, text] of [
  ['a process that is gone', JSON.stringify({ ...processIdentity(1), startTime: '1' })],
  ['a machine that lost power while it was written', ''],
] as const) {
  test(`the claim of ${what} counts for nothing, and nothing is left of it`, async (t) => {
    const folder = folderOf(t);
    writeFileSync(join(folder, 'daemon.json'), text);
    writeFileSync(join(folder, '.daemon.json.0123456789ab.tmp'), '{');
    const release = await claimFolder(join(folder, 'daemon.json'));
    assert.deepEqual(readdirSync(folder), ['daemon.json']);
    await release();
    assert.deepEqual(readdirSync(folder), []);
  });
}
