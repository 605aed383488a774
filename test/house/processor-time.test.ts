import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { costReport, processorTime } from './processor-time.ts';

const burn =
  'for (const until = Date.now() + 60_000; Date.now() < until; ) if (process.cpuUsage().user > 300_000) break;';

describe('processor time', () => {
  it('includes processes that ended', () => {
    const before = processorTime();
    execFileSync(process.execPath, ['-e', burn]);
    assert.ok(processorTime() - before >= 250, String(processorTime() - before));
  });

  it('of each file is shown at the end of a run, with PORTCULLIS_TEST_TIMES=1', () => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-times-'));
    try {
      writeFileSync(join(folder, 'idle.test.mjs'), "import 'node:test';\n");
      writeFileSync(
        join(folder, 'busy.test.mjs'),
        `import { execFileSync } from 'node:child_process';\nexecFileSync(process.execPath, ['-e', ${JSON.stringify(burn)}]);\n`,
      );
      const house = (file: string): string => JSON.stringify(join(import.meta.dirname, file));
      writeFileSync(
        join(folder, 'program.mjs'),
        `import { PassThrough } from 'node:stream';
         import { runTests } from ${house('tests.ts')};
         import { costReport } from ${house('processor-time.ts')};
         const processes = [['idle.test.mjs'], ['busy.test.mjs']];
         await runTests(new PassThrough().resume(), { title: 'all', processes, concurrency: 2 });
         process.stdout.write(costReport());`,
      );
      const { NODE_TEST_CONTEXT: _outer, ...env } = process.env;
      const run = (times: string): string =>
        execFileSync(process.execPath, ['program.mjs'], {
          cwd: folder,
          env: { ...env, PORTCULLIS_TEST_TIMES: times },
          encoding: 'utf8',
        });
      const [, , all = '', first = '', second = ''] = run('1').split('\n');
      assert.match(all, / all 2 files$/);
      assert.match(first, / busy\.test\.mjs$/);
      assert.ok(Number.parseFloat(first) >= 0.3, first);
      assert.match(second, / idle\.test\.mjs$/);
      assert.equal(run(''), '');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('is shown for the most expensive files only', () => {
    const costs = [1, 3, 2].map((seconds) => ({
      file: `${seconds}.test.ts`,
      processorMs: seconds * 1000,
      wallMs: 5000,
    }));
    assert.deepEqual(costReport(2, costs).split('\n').slice(2), [
      '     6.0    15.0  all 3 files',
      '     3.0     5.0  3.test.ts',
      '     2.0     5.0  2.test.ts',
      '',
    ]);
    assert.equal(costReport(2, []), '');
  });
});
