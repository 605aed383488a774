import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
import { registerStandIns } from '../simulation/stand-ins.ts';
import { checkTraces } from './checks.ts';
import type { Run } from './events.ts';
import { explain } from './explain-run.ts';
import { withoutTlc } from './tlc.ts';

registerStandIns();

/** `npm run test:spec` checks 1,600. */
const histories = { pods: 50, images: 30 } as const;
const run = promisify(execFile);

describe('histories of the simulator', { skip: withoutTlc() }, () => {
  for (const kind of ['pods', 'images'] as const)
    it(`of ${kind} are explained by the specification, with all their failures`, async () => {
      const { recordHistories } = await import('./simulated.ts');
      const { runs, broken } = await recordHistories(kind, 1, histories[kind]);
      assert.deepEqual(broken, []);
      assert.ok(runs.length > histories[kind] / 2, `${runs.length} histories show something`);
      const happened = (sort: string): boolean =>
        runs.some(({ events }) => events.some((event) => event.kind === sort));
      assert.ok(happened('daemon') && happened('machine'), 'daemons were killed and machines started again');
      checkTraces(runs);
    });

  it('show when a loss of power removes the latest writes', async () => {
    const { recordHistories } = await import('./simulated.ts');
    const { runs } = await recordHistories('pods', 1, 200);
    const cut = runs.filter(({ events }) => events.some(({ back = {} }) => Object.keys(back).length > 0));
    assert.ok(cut.length > 0, 'some history loses the record of a container');
    checkTraces(cut);
  });

  for (const says of ['keeps its link and its address', 'is recorded without its verdict'])
    it(`are not explained where the product has a planted bug: what ${says}`, async () => {
      const { stdout } = await run(
        process.execPath,
        [join(import.meta.dirname, 'record.ts'), says, '1', '20'],
        { maxBuffer: 2 ** 28 },
      );
      const { unexplained } = explain(JSON.parse(stdout) as Run[]);
      assert.ok(unexplained.length > 0, 'a trace of it is not explained');
    });
});
