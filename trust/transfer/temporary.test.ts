import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { after, test } from 'node:test';

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
