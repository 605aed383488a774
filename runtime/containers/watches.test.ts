import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createLogger } from '../../base/log/index.ts';
import type { Exit } from '../monitor/exits.ts';
import type { ContainerRecord } from './record.ts';
import { createContainerWatches } from './watches.ts';

const record = { id: 'c' } as ContainerRecord;
const exit: Exit = { code: 3, finishedAt: '1', fromMonitor: true };

/** One watch that was begun, with what it reports. */
interface Begun {
  readonly ended: () => void;
  readonly monitorLost: () => void;
  stopped: boolean;
}

function opened() {
  const begun: Begun[] = [];
  const recorded: Exit[] = [];
  const watches = createContainerWatches({
    effects: {
      watch: (_record, report, monitorLost) => {
        const one: Begun = { ended: () => report(exit), monitorLost, stopped: false };
        begun.push(one);
        return () => (one.stopped = true);
      },
    },
    exits: {
      record: async (_id, found) => {
        recorded.push(found);
        throw new Error('the disk is full');
      },
    },
    log: createLogger({ level: 'silent' }),
  });
  return { begun, recorded, watches };
}

describe('the watches of containers', () => {
  it('a container is unmonitored from the end of its monitor until its own end', () => {
    const { begun, recorded, watches } = opened();
    watches.begin(record);
    begun[0]?.monitorLost();
    assert.deepEqual(watches.unmonitored(), ['c']);
    begun[0]?.ended();
    assert.deepEqual(watches.unmonitored(), []);
    assert.deepEqual(recorded, [exit]);
    assert.equal(watches.has('c'), false);
  });

  it('a second watch of a container ends the first', () => {
    const { begun, watches } = opened();
    watches.begin(record);
    watches.begin(record);
    assert.deepEqual(
      begun.map(({ stopped }) => stopped),
      [true, false],
    );
  });

  it('close ends every watch', () => {
    const { begun, watches } = opened();
    watches.begin(record);
    watches.begin({ ...record, id: 'd' });
    watches.close();
    assert.ok(begun.every(({ stopped }) => stopped));
    assert.equal(watches.has('d'), false);
  });
});
