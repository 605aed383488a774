import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { PortcullisError } from '../errors/index.ts';
import { lockFolder } from './folder-lock.ts';

let folder = '';
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'portcullis-lock-'));
});
after(() => rmSync(folder, { recursive: true }));

/** Starts a process that holds the folder until it is killed. */
async function holder(): Promise<{ pid: number; kill(): Promise<void> }> {
  const source = `import { lockFolder } from ${JSON.stringify(import.meta.resolve('./folder-lock.ts'))};
    await lockFolder(${JSON.stringify(folder)}); process.stdout.write('mine'); setInterval(() => undefined, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', source], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  return {
    pid: child.pid ?? 0,
    async kill() {
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}

const refusal = (pid: number) => (error: unknown) =>
  error instanceof PortcullisError &&
  error.code === 'STORAGE_IN_USE' &&
  error.message.includes(`process ${pid} uses it`);

test('only one process at a time has a folder, the error names that process, and a killed process no longer has it', async () => {
  const other = await holder();
  await assert.rejects(lockFolder(folder), refusal(other.pid));
  const waiting = lockFolder(folder, 60_000);
  await other.kill();
  (await waiting).release();
});

test('a process does not get a folder twice, and gets it again after it has released it', async () => {
  const lock = await lockFolder(folder);
  await assert.rejects(lockFolder(folder), refusal(process.pid));
  lock.release();
  lock.release();
  (await lockFolder(folder)).release();
});

test('a user who may only read the lock does not get it', async (t) => {
  const own = join(folder, 'readable');
  mkdirSync(own);
  (await lockFolder(own)).release();
  for (const [path, mode] of [
    [folder, 0o755],
    [own, 0o555],
    [join(own, 'lock'), 0o444],
  ] as const)
    chmodSync(path, mode);
  // Root may write to every file.
  if (process.geteuid?.() === 0) {
    process.seteuid?.(65_534);
    t.after(() => process.seteuid?.(0));
  }
  await assert.rejects(lockFolder(own), { code: 'STORAGE_READ_ONLY' });
});

test('a path that is not a folder is reported', async () => {
  await assert.rejects(
    lockFolder('/proc/nowhere'),
    (error) =>
      error instanceof PortcullisError &&
      ['STORAGE_NO_ACCESS', 'STORAGE_READ_ONLY', 'STORAGE_IO'].includes(String(error.code)),
  );
});
