import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { openTemporaryFolder } from './temporary-folder.ts';

const fixture = join(import.meta.dirname, 'temporary-folder.fixture.ts');

async function holder(within: string): Promise<{ readonly child: ChildProcess; readonly path: string }> {
  const child = spawn(process.execPath, [fixture, within], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [path] = (await once(child.stdout, 'data')) as [Buffer];
  return { child, path: path.toString() };
}

async function kill(child: ChildProcess): Promise<void> {
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

test('what killed processes left is removed by the next start, and nothing else', async (t) => {
  const within = mkdtempSync(join(tmpdir(), 'portcullis-temporary-'));
  const [killed, living] = await Promise.all([holder(within), holder(within)]);
  t.after(async () => {
    await kill(living.child);
    rmSync(within, { recursive: true });
  });
  writeFileSync(join(killed.path, 'policy'), 'of a cluster');
  await kill(killed.child);
  const users = join(within, 'portcullis-webhook-of-a-user');
  mkdirSync(users);
  const young = mkdtempSync(join(within, 'portcullis-webhook-'));
  const longAgo = Date.now() / 1_000 - 3_600;
  for (const path of [killed.path, living.path, users]) utimesSync(path, longAgo, longAgo);

  const own = await openTemporaryFolder('portcullis-webhook-', within);
  assert.deepEqual(
    readdirSync(within).sort(),
    [living.path, users, young, own.path].map((path) => basename(path)).sort(),
  );
  await own.close();
  assert.equal(existsSync(own.path), false);
});

for (const [title, within, why] of [
  ['does not exist', '/none/tmp', 'it does not exist'],
  ['is a file', import.meta.filename, 'a part of its path is not a folder'],
  ['has a file system without new folders', '/proc', 'no folder can be created in it'],
] as const)
  test(`a folder for temporary files that ${title} is refused in words`, async () => {
    await assert.rejects(openTemporaryFolder('portcullis-webhook-', within), {
      code: 'STORAGE_NO_ACCESS',
      message: `create a folder for temporary files in ${within}: ${why}; check that the folder exists, is a folder, and may be written by this user [STORAGE_NO_ACCESS]`,
    });
  });
