import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { canShareProcess, canUsePeers, inSharedProcesses } from './shared-process.ts';
import type { Results } from './tests.ts';

interface Ran extends Pick<Results, 'counts' | 'failures' | 'flaky'> {
  readonly text: string;
}

/** Runs the files in one process of their own folder. */
function runTogether(files: Readonly<Record<string, string>>): Ran {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-shared-'));
  try {
    for (const [name, text] of Object.entries(files))
      writeFileSync(
        join(folder, name),
        `import assert from 'node:assert';\nimport { before, test } from 'node:test';\n${text}`,
      );
    const program = `
      import { PassThrough } from 'node:stream';
      import { runTests } from ${JSON.stringify(join(import.meta.dirname, 'tests.ts'))};
      const out = new PassThrough({ encoding: 'utf8' });
      let text = '';
      out.on('data', (chunk) => (text += chunk));
      const processes = [${JSON.stringify(Object.keys(files).filter((name) => name.includes('.test.')))}];
      const { counts, failures, flaky } = await runTests(out, { title: 'all', processes, concurrency: 1 });
      console.log(JSON.stringify({ counts, failures, flaky, text }));`;
    writeFileSync(join(folder, 'program.mjs'), program);
    const { NODE_TEST_CONTEXT: _outer, ...env } = process.env;
    return JSON.parse(
      execFileSync(process.execPath, ['program.mjs'], { cwd: folder, env, encoding: 'utf8' }),
    ) as Ran;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe('several test files in one process', () => {
  it('counts and reports the tests of each file', () => {
    const { counts, failures, text } = runTogether({
      'a.test.mjs': "test('one', () => undefined);\ntest('two', { skip: 'no' }, () => undefined);\n",
      'b.test.mjs': "test('three', (t) => t.test('four', () => undefined));\n",
    });
    assert.deepEqual({ counts, failures }, { counts: { passed: 3, failed: 0, skipped: 1 }, failures: [] });
    assert.match(text, /✔ a\.test\.mjs \(1 passed, 1 skipped, .*\n✔ b\.test\.mjs \(2 passed, /u);
  });

  it('applies the hooks of a file only to its own tests', () => {
    const { counts } = runTogether({
      'a.test.mjs':
        "let is = false;\nbefore(() => (is = globalThis.a = true));\ntest('a', () => assert.ok(is));\n",
      'b.test.mjs':
        "before(() => (globalThis.b = true));\ntest('b', () => assert.ok(globalThis.a && globalThis.b));\n",
      'c.test.mjs': "test('c', () => assert.ok(globalThis.b));\n",
    });
    assert.deepEqual(counts, { passed: 3, failed: 0, skipped: 0 });
  });

  it('runs each file by itself after a failure, and reports the failed test', () => {
    const { counts, failures, text } = runTogether({
      'a.test.mjs': "test('passes', () => undefined);\n",
      'b.test.mjs': "test('fails', () => assert.equal(1, 2));\n",
    });
    assert.deepEqual(counts, { passed: 1, failed: 1, skipped: 0 });
    assert.deepEqual(failures, ['b.test.mjs:3 fails']);
    assert.match(text, /✖ b\.test\.mjs:3 fails\n.*1 == 2/su);
  });

  it('fails when files pass only by themselves', () => {
    const { counts, failures } = runTogether({
      'a.test.mjs': "test('sets', () => (globalThis.set = true));\n",
      'b.test.mjs': "test('observes', () => assert.equal(globalThis.set, undefined));\n",
    });
    assert.deepEqual(counts, { passed: 2, failed: 1, skipped: 0 });
    assert.deepEqual(failures, ['a.test.mjs:0 fails in one process with 1 other files']);
  });

  const unlucky =
    "import { existsSync, writeFileSync } from 'node:fs';\ntest('is unlucky', () => {\n" +
    "if (!existsSync('mark')) { writeFileSync('mark', ''); assert.fail('once'); } });\n";
  it('are flaky when they pass by themselves and then together', () => {
    const { counts, failures, flaky, text } = runTogether({
      'a.test.mjs': "test('passes', () => undefined);\n",
      'b.test.mjs': unlucky,
    });
    assert.deepEqual(
      [counts, failures, flaky],
      [{ passed: 2, failed: 0, skipped: 0 }, [], ['a.test.mjs:0 fails in one process with 1 other files']],
    );
    assert.match(text, /is unlucky: AssertionError.*once/u);
  });

  it('fail when the file that failed once kills processes', () => {
    const { failures } = runTogether({
      'a.test.mjs': "test('passes', () => undefined);\n",
      'b.test.mjs': `${unlucky}// SIGKILL\n`,
    });
    assert.deepEqual(failures, ['a.test.mjs:0 fails in one process with 1 other files']);
  });

  it('fails when a file declares no tests', () => {
    const { counts } = runTogether({ 'a.test.mjs': "test('passes', () => undefined);\n", 'b.test.mjs': '' });
    assert.deepEqual(counts, { passed: 1, failed: 1, skipped: 0 });
  });

  it('counts the tests of files that await, or load a module that awaits', () => {
    const { counts, failures } = runTogether({
      'awaits.mjs': 'await new Promise((resolve) => setTimeout(resolve, 5));\n',
      'a.test.mjs': "import './awaits.mjs';\ntest('a', () => undefined);\n",
      'b.test.mjs': "import './awaits.mjs';\nawait null;\ntest('b', () => undefined);\n",
    });
    assert.deepEqual({ counts, failures }, { counts: { passed: 2, failed: 0, skipped: 0 }, failures: [] });
  });

  it('fails when a file exits early', () => {
    const { counts } = runTogether({
      'a.test.mjs': "test('passes', () => undefined);\n",
      'b.test.mjs': "test('exits', () => process.exit(0));\n",
    });
    assert.deepEqual(counts, { passed: 1, failed: 1, skipped: 0 });
  });
});

describe('the processes of test files', () => {
  const texts: Readonly<Record<string, string>> = {
    'base/net/a.test.ts': "import { parse } from './address.ts';\n",
    'base/net/deep/b.test.ts': 'const seeds = 3;\n',
    'base/net/c.test.ts': "import { Worker } from 'node:worker_threads';\n",
    'base/net/d.test.ts': '',
    'base/files/e.test.ts': '',
    'base/lists/f.test.ts': '',
    'trust/tuf/g.test.ts': '',
    'test/house/h.test.ts': '',
    'test/house/i.test.ts': '',
    'test/e2e/j.test.ts': '',
    'test/e2e/k.test.ts': '',
  };
  const processes = inSharedProcesses(Object.keys(texts), (file) => texts[file] ?? '');
  const ofFile = (file: string) => processes.find((files) => files.includes(file));

  it('are shared by files of one folder that can share them', () => {
    const shared = ['base/net/a.test.ts', 'base/net/deep/b.test.ts', 'base/net/d.test.ts'];
    assert.deepEqual(ofFile('base/net/a.test.ts')?.slice(0, 3), shared);
    assert.deepEqual(ofFile('base/net/c.test.ts'), ['base/net/c.test.ts']);
    assert.deepEqual(ofFile('test/house/h.test.ts'), ['test/house/h.test.ts', 'test/house/i.test.ts']);
  });

  it('are shared by files of other folders of the module while they have room', () => {
    const others = ['base/files/e.test.ts', 'base/lists/f.test.ts'];
    assert.deepEqual(ofFile('base/net/a.test.ts')?.slice(3), others);
    assert.deepEqual(ofFile('trust/tuf/g.test.ts'), ['trust/tuf/g.test.ts']);
    const files = ['a', 'b', 'c'].flatMap((folder) =>
      Array.from({ length: folder === 'b' ? 10 : 6 }, (_, index) => `base/${folder}/${index}.test.ts`),
    );
    const all = inSharedProcesses(files, () => '');
    assert.deepEqual(
      all.map((process) => process.length),
      [16, 6],
    );
  });

  it('that need no peers do not wait with files that can use peers', () => {
    const peers = "import { findTool } from '../../test/fixtures/tools.ts';\n";
    const files = ['base/a/1.test.ts', 'base/b/2.test.ts', 'base/c/3.test.ts', 'base/d/4.test.ts'];
    const all = inSharedProcesses(files, (file) => (/[24]/u.test(file) ? peers : ''));
    assert.deepEqual(all, [
      [files[0], files[2]],
      [files[1], files[3]],
    ]);
  });

  it('are not shared by files that test several modules', () => {
    assert.deepEqual(ofFile('test/e2e/j.test.ts'), ['test/e2e/j.test.ts']);
  });

  it('have a largest number of files', () => {
    const files = Array.from({ length: 40 }, (_, index) => `base/net/${index}.test.ts`);
    const sizes = inSharedProcesses(files, () => '').map(({ length }) => length);
    assert.deepEqual(sizes, [16, 16, 8]);
  });

  for (const text of [
    "process.env['HOME'] = folder;",
    "process.env['HOME'] ??= folder;",
    "delete process.env['HOME'];",
    'unshareMounts();',
    "process.on('SIGTERM', stop);",
    'process.chdir(folder);',
    'const before = process.cpuUsage();',
    'gc();',
    "new Worker('x');",
    "import '../fixtures/private-namespaces.ts';",
    'readdirSync("/proc/self/fd");',
    "import { growth } from '../../test/fixtures/cost.ts';",
    'mock.timers.enable();',
  ])
    it(`are not shared by a test with ${text}`, () => assert.ok(!canShareProcess(text)));

  for (const text of [
    "Number(process.env['FUZZ_SEED'] ?? 1)",
    "PATH: `${folder}:${process.env['PATH']}`",
    'readFileSync(`/proc/self/fd/${descriptor}`);',
    "runProgram('unshare', ['--net', 'true']);",
    'process.pid',
    "process.once('exit', () => rmSync(folder));",
    'const until = performance.now() + 1000;',
    't.mock.timers.enable();',
    'assert.deepEqual(spec.process.capabilities, []);',
    'await plugin.gc();',
    "execFileSync('openssl', ['version']);",
    "import { read } from './process.fixture.ts';",
    '{ skip: process.getuid?.() !== 0 }',
  ])
    it(`are shared by a test with ${text}`, () => assert.ok(canShareProcess(text)));
});

describe('a test beside the code', () => {
  it('uses no peer if it names neither their folder nor a fixture', () => {
    assert.ok(!canUsePeers('base/net/a.test.ts', "import { parse } from './address.ts';"));
  });

  for (const text of [
    "import { findTool } from '../../test/fixtures/tools.ts';",
    "const peers = process.env['PEERS'] ?? '';",
    "'/var/cache/portcullis-peers/bin/crictl'",
  ])
    it(`can use peers with ${text}`, () => assert.ok(canUsePeers('base/net/a.test.ts', text)));

  it('can use peers below test/', () => assert.ok(canUsePeers('test/proof/z3.test.ts', '')));
});
