import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Counts } from './tests.ts';

/** Runs test files as `npm test` does, in a separate process, because Node's test runner cannot be nested. */
function runTwice(
  files: Readonly<Record<string, string>>,
  rerun = true,
  limitMs = 60_000,
  tests: readonly string[] = Object.keys(files),
): { counts: Counts; failures: string[]; flaky: string[] } {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-again-'));
  try {
    for (const [name, text] of Object.entries(files))
      writeFileSync(
        join(folder, name),
        `import { test } from 'node:test';\nimport { existsSync, writeFileSync } from 'node:fs';\n${text}`,
      );
    const program = `
      import { PassThrough } from 'node:stream';
      import { runTests } from ${JSON.stringify(join(import.meta.dirname, 'tests.ts'))};
      import { runAgain } from ${JSON.stringify(join(import.meta.dirname, 'again.ts'))};
      const out = new PassThrough().resume();
      const suite = await runTests(out, { title: 'first', files: ${JSON.stringify(tests)}, concurrency: 1, limitMs: ${limitMs} });
      console.log(JSON.stringify(await runAgain(out, [suite], ${String(rerun)})));`;
    const { NODE_TEST_CONTEXT: _outer, ...env } = process.env;
    writeFileSync(join(folder, 'program.mjs'), program);
    return JSON.parse(
      execFileSync(process.execPath, ['program.mjs'], { cwd: folder, env, encoding: 'utf8' }),
    ) as ReturnType<typeof runTwice>;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const passing = "test('passes', () => undefined);\n";
const failing = "test('fails', () => { throw new Error('always'); });\n";
const unlucky =
  "test('is unlucky', () => { if (!existsSync('seen')) { writeFileSync('seen', ''); throw new Error('once'); } });\n";

describe('a file whose process does not exit', () => {
  it('is killed at the time limit, and has failed', () => {
    const open =
      "import { createServer } from 'node:http';\ntest('leaves a server open', () => void createServer().listen(0));\n";
    const { counts, failures } = runTwice({ 'a.test.mjs': passing, 'b.test.mjs': open }, false, 2000);
    assert.equal(counts.failed, 1);
    assert.match(failures.join(), /b\.test\.mjs/);
  });
});

describe('a failed file is run again', () => {
  it('passes if it passes then, and is named', () => {
    const { counts, failures, flaky } = runTwice({ 'a.test.mjs': passing, 'b.test.mjs': passing + unlucky });
    assert.deepEqual([counts, failures], [{ passed: 3, failed: 0, skipped: 0 }, []]);
    assert.deepEqual(flaky, ['b.test.mjs:4 is unlucky']);
  });

  it('is named by its own file if a fixture declares the test', () => {
    const { counts, failures, flaky } = runTwice(
      { 'fixture.mjs': unlucky, 'a.test.mjs': "import './fixture.mjs';\n" },
      true,
      60_000,
      ['a.test.mjs'],
    );
    assert.deepEqual([counts, failures], [{ passed: 1, failed: 0, skipped: 0 }, []]);
    assert.deepEqual(flaky, ['a.test.mjs: is unlucky (fixture.mjs:3)']);
  });

  it('fails if it fails again', () => {
    const { counts, failures, flaky } = runTwice({ 'a.test.mjs': passing + failing, 'b.test.mjs': unlucky });
    assert.deepEqual(counts, { passed: 2, failed: 1, skipped: 0 });
    assert.deepEqual([failures, flaky], [['a.test.mjs:4 fails'], ['b.test.mjs:3 is unlucky']]);
  });

  it('is not run again if it kills processes or uses a seed', () => {
    const kills = unlucky
      .replace("throw new Error('once')", "process.kill(process.pid, 'SIGKILL')")
      .replaceAll('seen', 'seen1');
    const draws = `const seed = 7;\n${unlucky.replaceAll('seen', 'seen2')}`;
    const { counts, failures, flaky } = runTwice({
      'a.test.mjs': kills,
      'b.test.mjs': draws,
      'chaos.test.mjs': unlucky.replaceAll('seen', 'seen3'),
      'd.test.mjs': passing + unlucky,
    });
    assert.equal(counts.failed, 3);
    assert.match(
      failures.join('\n'),
      /^a\.test\.mjs:.*\nb\.test\.mjs:4 is unlucky\nchaos\.test\.mjs:3 is unlucky$/u,
    );
    assert.deepEqual(flaky, ['d.test.mjs:4 is unlucky']);
  });

  it('is not run again if one file was requested, or if many fail', () => {
    assert.equal(runTwice({ 'a.test.mjs': unlucky }, false).counts.failed, 1);
    const many = Object.fromEntries(
      [1, 2, 3, 4, 5, 6].map((index) => [
        `${String(index)}.test.mjs`,
        unlucky.replaceAll('seen', `seen${String(index)}`),
      ]),
    );
    assert.deepEqual(runTwice(many).counts, { passed: 0, failed: 6, skipped: 0 });
  });
});
