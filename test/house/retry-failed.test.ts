import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Counts } from './test-process.ts';

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
      import { runAgain } from ${JSON.stringify(join(import.meta.dirname, 'retry-failed.ts'))};
      const out = new PassThrough().resume();
      const suite = await runTests(out, { title: 'first', processes: ${JSON.stringify(tests.map((name) => [name]))}, concurrency: 1, limitMs: ${limitMs} });
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

describe('a file that runs in private namespaces', () => {
  it('is loaded only inside them, and neither its processes nor its Workers load them again', () => {
    const fixture = join(import.meta.dirname, '../fixtures/private-namespaces.ts');
    const text = `import { Worker } from 'node:worker_threads';
import './loaded.mjs';
import '${fixture}';
import { readFileSync } from 'node:fs';
import assert from 'node:assert';
import { once } from 'node:events';
test('was loaded once', async () => {
  assert.equal(readFileSync('loads', 'utf8'), 'x');
  assert.ok(!process.execArgv.some((flag) => flag.includes('private-namespaces')));
  const [code] = await once(new Worker('process.exit(7)', { eval: true }), 'exit');
  assert.equal(code, 7);
});\n`;
    const loaded = "import { appendFileSync } from 'node:fs';\nappendFileSync('loads', 'x');\n";
    const { counts, failures } = runTwice({ 'loaded.mjs': loaded, 'a.test.mjs': text }, false, 60_000, [
      'a.test.mjs',
    ]);
    assert.deepEqual([counts.passed, failures], [1, []]);
  });
});

describe('a file that Node reports as passed has failed', () => {
  const counted = (text: string): [Counts, string[]] => {
    const { counts, failures } = runTwice({ 'a.test.mjs': text }, false);
    return [counts, failures];
  };
  const nothing = { passed: 0, failed: 1, skipped: 0 };
  const early = 'a.test.mjs:0 declares no tests, or exited before its last test ended';

  it('if its process exits with 0 before its last test ended', () => {
    const exits = "test('exits', () => new Promise((resolve) => setTimeout(resolve, 60_000)));\n";
    const text = `${passing}${exits}setTimeout(() => process.reallyExit(0), 100);\n`;
    assert.deepEqual(counted(text), [nothing, [early]]);
  });

  it('if it calls process.exit before a test that fails', () => {
    assert.deepEqual(counted(`${passing}process.exit(0);\n${failing}`), [nothing, [early]]);
  });

  it('if it declares no test', () => {
    assert.deepEqual(counted(''), [nothing, [early]]);
    assert.deepEqual(counted("test.suite('empty', () => undefined);\n"), [
      nothing,
      ['a.test.mjs:0 declares no tests'],
    ]);
  });

  it('if a hook after all tests of a suite fails', () => {
    const text = `test.suite('a', () => {\n${passing}test.after(() => { throw new Error('late'); });\n});\n`;
    const [counts, failures] = counted(text);
    assert.deepEqual(counts, { passed: 1, failed: 1, skipped: 0 });
    assert.deepEqual(failures, ['a.test.mjs:3 a']);
  });
});

describe('a file of which each suite is skipped', () => {
  it('is counted as skipped', () => {
    const text = `test.suite('a', { skip: 'no peer' }, () => {\n${failing}});\n`;
    assert.deepEqual(runTwice({ 'a.test.mjs': text }, false).counts, { passed: 0, failed: 0, skipped: 1 });
  });
});

describe('a failed file is run again', () => {
  it('passes if its second run passes, and is named', () => {
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

  it('fails if its test is skipped in the second run', () => {
    const skips =
      "test('skips', (t) => { if (existsSync('seen')) return t.skip('no peer'); writeFileSync('seen', ''); throw new Error('once'); });\n";
    const { counts, failures, flaky } = runTwice({ 'a.test.mjs': passing + skips });
    assert.deepEqual(counts, { passed: 1, failed: 1, skipped: 0 });
    assert.deepEqual([failures, flaky], [['a.test.mjs:4 skips'], []]);
  });

  it('fails if its second run fails', () => {
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
