import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { watchPolicyFiles } from './policy-files.ts';

/** Follows paths, and counts the changes that events of the kernel report: there is no look once a minute. */
async function follow(t: TestContext, folder: string, paths: readonly string[]): Promise<{ count: number }> {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const changes = { count: 0 };
  const files = watchPolicyFiles(() => {
    changes.count += 1;
    void files.follow(paths, new Date());
  });
  t.after(() => {
    files.close();
    rmSync(folder, { recursive: true });
  });
  await files.follow(paths, new Date());
  return changes;
}

const until = async (what: () => boolean): Promise<void> => {
  while (!what()) await pause(20);
};

test('a path is watched whose folder does not exist yet', { timeout: 60_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-policy-files-'));
  const changes = await follow(t, folder, [join(folder, 'node/state/policy')]);
  mkdirSync(join(folder, 'node'));
  // Long enough for the new folder to be noticed alone.
  await pause(1_000);
  mkdirSync(join(folder, 'node/state/revision'), { recursive: true });
  writeFileSync(join(folder, 'node/state/revision/policy.yaml'), '');
  symlinkSync('revision', join(folder, 'node/state/policy'));
  await until(() => changes.count > 0);
});

test('a folder that takes the place of another is watched', { timeout: 60_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-policy-files-'));
  const policy = join(folder, 'policy');
  for (const name of ['policy', 'next']) {
    mkdirSync(join(folder, name));
    writeFileSync(join(folder, name, 'policy.yaml'), name);
  }
  const changes = await follow(t, folder, [policy, join(policy, 'policy.yaml')]);
  renameSync(policy, join(folder, 'former'));
  renameSync(join(folder, 'next'), policy);
  await until(() => changes.count > 0);
  // Until the folder was followed again.
  await pause(1_000);
  const before = changes.count;
  writeFileSync(join(policy, 'policy.yaml'), 'other rules');
  await until(() => changes.count > before);
});
