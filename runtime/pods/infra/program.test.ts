import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { infraProgram } from './program.ts';

/**
 * A change of these bytes changes what process 1 of a pod does: read the disassembly (`objdump -D -b
 * binary`), then update the digest here.
 */
for (const [architecture, size, digest] of [
  ['x64', 464, '5ad48301eb09bacc9181146d52b2d2a2b2fd8ad8411de359b3a36692da908b3e'],
  ['arm64', 528, '66d6e0275d958a0ebef1f25abce610d67f39e7ee855e609a01e5f9bd8901227b'],
] as const) {
  test(`the program for ${architecture} has the bytes that were reviewed`, () => {
    const bytes = infraProgram(architecture);
    assert.equal(bytes.length, size);
    assert.equal(createHash('sha256').update(bytes).digest('hex'), digest);
  });
}

test('it keeps running, confines itself, closes all files, and lets the kernel reap orphans', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'infra-'));
  const file = join(folder, 'pause');
  writeFileSync(file, infraProgram(process.arch === 'arm64' ? 'arm64' : 'x64'));
  chmodSync(file, 0o555);
  const child = spawn(file, { stdio: 'inherit' });
  try {
    await once(child, 'spawn');
    const status = (): string => readFileSync(`/proc/${child.pid ?? 0}/status`, 'utf8');
    const field = (name: string): string => new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(status())?.[1] ?? '';
    for (let waited = 0; field('Seccomp') !== '2' && waited < 60_000; waited += 10) await pause(10);
    assert.deepEqual([field('Seccomp'), field('NoNewPrivs')], ['2', '1']);
    // SIGCHLD is 17: bit 16.
    assert.equal(BigInt(`0x${field('SigIgn')}`) & (1n << 16n), 1n << 16n);
    assert.deepEqual(readdirSync(`/proc/${child.pid ?? 0}/fd`), []);
    child.kill('SIGSTOP');
    child.kill('SIGCONT');
    await pause(50);
    assert.match(field('State'), /^[SR]$/, 'it continues unchanged after SIGSTOP and SIGCONT');
  } finally {
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
    rmSync(folder, { recursive: true });
  }
});
