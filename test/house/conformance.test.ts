import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { runLimited } from './conformance.ts';

function runs(pid: number): boolean {
  try {
    return !/^State:\s+Z/mu.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

test('a suite that does not end is killed with the processes that it started, and has failed', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'conformance-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const [script, pids] = [join(folder, 'hangs.ts'), join(folder, 'pids')];
  writeFileSync(
    script,
    `import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
const child = spawn('sleep', ['600']);
writeFileSync(${JSON.stringify(pids)}, String(child.pid));
setInterval(() => undefined, 1000);\n`,
  );
  const { held, printed } = await runLimited({ script, limitMs: 3000 });
  assert.equal(held, false);
  assert.match(printed, /did not end within 3 s and was killed/u);
  assert.ok(existsSync(pids));
  const pid = Number(readFileSync(pids, 'utf8'));
  // A killed process exists until its parent has waited for it.
  for (let left = 100; left > 0 && runs(pid); left -= 1) await setTimeout(50);
  assert.ok(!runs(pid));
});

test('a suite that ends in time has the result of its exit code, and what it printed', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'conformance-'));
  t.after(() => rmSync(folder, { recursive: true }));
  for (const [code, held] of [
    [0, true],
    [1, false],
  ] as const) {
    const script = join(folder, `${code}.ts`);
    writeFileSync(script, `console.log('out'); console.error('error'); process.exitCode = ${code};\n`);
    const ended = await runLimited({ script, limitMs: 60_000 });
    assert.deepEqual(ended, { held, printed: 'out\nerror\n' });
  }
});
