import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { flagsOfSources } from '../../test/fixtures/bundled-workers-flag.ts';
import { mountWayOf } from './erofs/mount-layer.ts';

const run = promisify(execFile);
const way = mountWayOf('/var/tmp');

for (const suite of ['image-store', 'unclean-stop', 'sweep', 'reconcile', 'crash'])
  test(
    `${suite}.test.ts, with layers as EROFS files`,
    { skip: way.kind === 'none' ? way.why : false, timeout: 600_000 },
    async () => {
      const { NODE_TEST_CONTEXT: _, ...environment } = process.env;
      const file = new URL(`./${suite}.test.ts`, import.meta.url).pathname;
      // As npm test starts a file, without the runner of `node --test`, which only starts one more process.
      const { stdout } = await run(
        process.execPath,
        [...flagsOfSources(), '--test-force-exit', '--test-reporter=tap', file],
        {
          env: { ...environment, PORTCULLIS_TEST_LAYERS: 'erofs' },
          maxBuffer: 16 * 1024 * 1024,
        },
      ).catch((thrown: unknown) => assert.fail((thrown as { stdout?: string }).stdout ?? String(thrown)));
      assert.match(stdout, /^# fail 0$/m);
      assert.match(stdout, /^# pass [1-9]/m);
    },
  );
