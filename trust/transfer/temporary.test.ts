import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { after, test } from 'node:test';
import { requireNewFile, writeTar } from './archive.ts';

const home = mkdtempSync(join(tmpdir(), 'portcullis-temporary-test-'));
after(() => rmSync(home, { recursive: true }));

const program = `
const { inTemporary } = await import(process.argv[1] + '/temporary.ts');
const { writeTar } = await import(process.argv[1] + '/archive.ts');
await inTemporary('outer-', () => inTemporary('inner-', () => writeTar(process.argv[2], process.argv[3], [])));
`;

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  test(`${signal} removes all temporary folders, and an archive that is not complete`, async () => {
    const [temporary, out, layout] = ['tmp-', 'out-', 'layout-'].map((name) =>
      mkdtempSync(join(home, name)),
    ) as [string, string, string];
    mkdirSync(join(layout, 'blobs/sha256'), { recursive: true });
    // A blob that never ends.
    execFileSync('mkfifo', [join(layout, 'blobs/sha256/fifo')]);
    const words = ['--input-type=module', '-e', program, import.meta.dirname, layout, join(out, 'app.tar')];
    const child = spawn(process.execPath, words, {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, TMPDIR: temporary },
    });
    const ended = once(child, 'exit');
    while (child.exitCode === null && readdirSync(out).length === 0) await pause(10);
    assert.equal(readdirSync(temporary).length, 2);
    child.kill(signal);
    assert.deepEqual([await ended, readdirSync(temporary), readdirSync(out)], [[null, signal], [], []]);
  });

test('an archive never replaces a file that another command wrote meanwhile', async () => {
  const layout = mkdtempSync(join(home, 'layout-'));
  const out = mkdtempSync(join(home, 'out-'));
  mkdirSync(join(layout, 'blobs/sha256'), { recursive: true });
  writeFileSync(join(layout, 'index.json'), '{}');
  const file = join(out, 'app.tar');
  const written = await Promise.allSettled([1, 2].map(() => writeTar(layout, file, ['index.json'])));
  const refused = written.flatMap((one) => (one.status === 'rejected' ? [one.reason as unknown] : []));
  assert.deepEqual(
    refused.map((one) => (one as { code?: string }).code),
    ['TRUST_ARCHIVE_EXISTS'],
  );
  assert.deepEqual(readdirSync(out), ['app.tar']);
});

test('an archive does not replace a symlink whose target is missing', async () => {
  const file = join(mkdtempSync(join(home, 'out-')), 'app.tar');
  symlinkSync('missing', file);
  await assert.rejects(requireNewFile(file), { code: 'TRUST_ARCHIVE_EXISTS' });
});

test('a folder in which no archive can be created is refused before the download', async () => {
  const out = mkdtempSync(join(home, 'out-'));
  await requireNewFile(join(out, 'new', 'app.tar'));
  for (const mode of [0o644, 0o755]) {
    const file = join(out, `file-${mode}`);
    writeFileSync(file, '', { mode });
    await assert.rejects(requireNewFile(join(file, 'app.tar')), { code: 'STORAGE_NO_ACCESS' });
  }
});

test('the next call removes the folder of a killed process', async () => {
  const temporary = mkdtempSync(join(home, 'killed-'));
  const holds = `
    const { inTemporary } = await import(process.argv[1] + '/temporary.ts');
    await inTemporary('push-', (folder) => new Promise((resolve) => {
      process.stdout.write(folder);
      if (process.argv[2] === 'ends') resolve(); else setInterval(() => undefined, 1000);
    }));`;
  const start = (word: string) =>
    spawn(process.execPath, ['--input-type=module', '-e', holds, import.meta.dirname, word], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, TMPDIR: temporary },
    });
  const killed = start('waits');
  await once(killed.stdout, 'data');
  killed.kill('SIGKILL');
  await once(killed, 'exit');
  const [left = ''] = readdirSync(temporary);
  const longAgo = Date.now() / 1_000 - 3_600;
  utimesSync(join(temporary, left), longAgo, longAgo);
  await once(start('ends'), 'exit');
  assert.deepEqual(readdirSync(temporary), []);
});
