import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { drawnFrom, replayOf } from './engine/decisions.ts';
import type { Decisions } from './engine/decisions.ts';
import type { Report } from './engine/history-events.ts';
import { kinds } from './engine/history.ts';
import { playerOf } from './players.ts';
import type { LaneResult } from './lane.ts';
import { planted } from './planted/list.ts';
import { playSeed, report } from './search.ts';
import { registerStandIns } from './stand-ins.ts';

registerStandIns();

const run = promisify(execFile);
/** `npm run test:sim` plays as many as its time allows. */
const histories = { pods: 100, images: 60, services: 20, attachments: 30 };

describe('random histories with crashes, failures, slow effects, loss of power and jumps of the clock', () => {
  for (const kind of kinds)
    it(`${histories[kind]} of ${kind} break no invariant`, async () => {
      for (let seed = 1; seed <= histories[kind]; seed += 1) {
        const result = await playSeed(seed, kind);
        if ('broken' in result) assert.fail(await report(result));
      }
    });
});

/** Histories that once broke an invariant because of a defect of the product. */
const found: readonly (readonly [kind: (typeof kinds)[number], seed: number])[] = [
  ['images', 104_038],
  ['attachments', 415],
  ['attachments', 642],
  ['attachments', 5_120],
  ['images', 9_100_074],
  ['images', 9_100_961],
  ['attachments', 12_017_246],
  ['attachments', 14_006_062],
  ['attachments', 46_374],
  ['attachments', 24_735],
  ['attachments', 122_659],
  ['images', 8_707],
];

describe('a history that found a defect', () => {
  for (const [kind, seed] of found)
    it(`no longer breaks an invariant: ${kind}, seed ${seed}`, async () => {
      const result = await playSeed(seed, kind);
      if ('broken' in result) assert.fail(await report(result));
    });
});

describe('a history', () => {
  for (const kind of kinds)
    it(`of ${kind} is the same when its decisions are replayed`, async () => {
      const play = await playerOf(kind);
      const reported = async (decisions: Decisions): Promise<string[]> => {
        const events: string[] = [];
        const report: Report = (event) => events.push(event);
        await play(decisions, report);
        return events;
      };
      const drawn = drawnFrom(5);
      const events = await reported(drawn);
      assert.ok(events.length > 10);
      assert.deepEqual(await reported(replayOf(drawn.made)), events);
    });
});

describe('a planted bug', () => {
  it('is found, and its history is shrunk', async () => {
    const index = planted.findIndex(({ file }) => file.endsWith('/exit-recorder.ts'));
    const lane = fileURLToPath(new URL('./lane.ts', import.meta.url));
    const { stdout } = await run(process.execPath, [lane, '1', '2000', '1', 'pods', String(index)]);
    const found = JSON.parse(stdout) as LaneResult;
    assert.equal(found.invariant, 'everything ends');
    const sizes = /shrunk from (\d+) decisions to (\d+)/.exec(found.report ?? '');
    assert.ok(Number(sizes?.[2]) < 20 && Number(sizes?.[1]) > Number(sizes?.[2]), found.report ?? '');
  });
});
