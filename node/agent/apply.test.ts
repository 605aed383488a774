import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createLogger } from '../../base/log/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { stateWithDefaults } from '../document/defaults.ts';
import { fingerprintOf } from '../model/fingerprint.ts';
import type { Controller } from '../model/types.ts';
import { openNodeFiles } from '../store/node-files.ts';
import type { NodeStatus } from '../store/node-files.ts';
import { applyState } from './apply.ts';
import { startNodeAgent } from './serve.ts';

const home = mkdtempSync(join(tmpdir(), 'pc-node-apply-'));
const log = createLogger({ level: 'silent' });
let count = 0;
const newFolder = (): string => join(home, String((count += 1)));

/** Settings whose values are in memory; the value `refused` is never taken. */
function memoryController(values: Map<string, string>): Controller {
  return {
    section: 'sysctls',
    after: [],
    foreign: 'exclusive',
    backsOff: false,
    schema: {},
    items: ({ sysctls }) =>
      new Map(
        Object.entries(sysctls).map(([name, value]) => [
          name,
          { fingerprint: fingerprintOf(value), visible: value, shown: value },
        ]),
      ),
    observe: (names) =>
      Promise.resolve(
        new Map(
          [...values].flatMap(([name, value]) =>
            names.has(name) ? [[name, { visible: value, shown: value }] as const] : [],
          ),
        ),
      ),
    apply({ name, to }) {
      if (to === 'refused') return Promise.reject(new Error('the value is refused'));
      if (to === undefined) values.delete(name);
      else values.set(name, to);
      return Promise.resolve();
    },
  };
}

const applying = (
  folder: string,
  values: Map<string, string>,
  wanted: string,
  timeoutMs = 20_000,
): Promise<NodeStatus> =>
  applyState({
    ...{ folder, controllers: [memoryController(values)], file: `${wanted}.yaml`, force: false, timeoutMs },
    ...{ state: stateWithDefaults({ sysctls: { a: wanted } }, []), log, onProgress: () => undefined },
  });

describe('applying a state', () => {
  after(() => rmSync(home, { recursive: true }));

  it('says at once that another state has replaced it, which is then applied', async () => {
    const [folder, values] = [newFolder(), new Map<string, string>()];
    const first = applying(folder, values, 'refused');
    const refused = assert.rejects(first, { code: 'NODE_STATE_REPLACED', message: /that of second\.yaml/u });
    await sleep(500);
    await Promise.all([applying(folder, values, 'second'), refused]);
    assert.equal(values.get('a'), 'second');
  });

  it('ends for each of two commands that apply the same state at the same time', async () => {
    const [folder, values] = [newFolder(), new Map<string, string>()];
    const { promise: released, resolve: release } = Promise.withResolvers<undefined>();
    const memory = memoryController(values);
    const apply: Controller['apply'] = (...words) => released.then(() => memory.apply(...words));
    const controllers = [{ ...memory, apply }];
    const agent = await startNodeAgent({ folder, controllers, log, intervalMs: 100, waitMs: 0 });
    const requested = async (other?: string): Promise<string> => {
      for (;;) {
        const at = (await openNodeFiles(folder).readDesired())?.appliedAt;
        if (at !== undefined && at !== other) return at;
        await sleep(10);
      }
    };
    try {
      const first = applying(folder, values, '1');
      const at = await requested();
      const second = applying(folder, values, '1');
      await requested(at);
      release(undefined);
      for (const { converged } of await Promise.all([first, second])) assert.equal(converged, true);
    } finally {
      await agent.close();
    }
  });

  it('goes on by itself when the process that keeps the node ends meanwhile', async () => {
    const [folder, values] = [newFolder(), new Map<string, string>()];
    const never: Controller['observe'] = (_, { signal }) =>
      new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(new Error('ended'))));
    const controllers = [{ ...memoryController(values), observe: never }];
    const serving = await startNodeAgent({ folder, controllers, log, intervalMs: 100, waitMs: 0 });
    const applied = applying(folder, values, '1');
    await sleep(500);
    assert.equal(values.size, 0);
    await serving.close();
    assert.equal((await applied).converged, true);
    assert.equal(values.get('a'), '1');
  });

  it('is waited for by a process that keeps the node, until it is asked to stop', async () => {
    const [folder, values] = [newFolder(), new Map<string, string>()];
    const options = { folder, controllers: [memoryController(values)], log, intervalMs: 100 };
    const serving = await startNodeAgent({ ...options, waitMs: 0 });
    const [waits, stop]: [string[], AbortController] = [[], new AbortController()];
    const said: Logger = {
      ...log,
      warn(_, message) {
        waits.push(message);
        stop.abort();
      },
    };
    const begun = performance.now();
    await assert.rejects(startNodeAgent({ ...options, log: said, waitMs: 300_000, stop: stop.signal }), {
      code: 'STORAGE_IN_USE',
    });
    assert.ok(performance.now() - begun < 200_000);
    assert.deepEqual(waits, ['another process keeps the node: waiting until it ends']);
    await serving.close();
  });

  it('ends when the clock of the machine was set back meanwhile', async (t) => {
    const [folder, values] = [newFolder(), new Map<string, string>()];
    t.mock.timers.enable({ apis: ['Date'], now: 2_000_000_000_000 });
    const memory = memoryController(values);
    const apply: Controller['apply'] = (...words) => {
      t.mock.timers.setTime(1_000_000_000_000);
      return memory.apply(...words);
    };
    const controllers = [{ ...memory, apply }];
    const agent = await startNodeAgent({ folder, controllers, log, intervalMs: 100, waitMs: 0 });
    try {
      assert.equal((await applying(folder, values, '1', 5000)).converged, true);
    } finally {
      await agent.close();
    }
  });

  it('compares every section once more when the same state is applied again', async () => {
    const [folder, values] = [newFolder(), new Map<string, string>()];
    const controllers = [memoryController(values)];
    // Only a new request makes it look again.
    const agent = await startNodeAgent({ folder, controllers, log, intervalMs: 60_000, waitMs: 0 });
    try {
      for (const drifted of ['2', '3']) {
        await applying(folder, values, '1');
        values.set('a', drifted);
      }
      await applying(folder, values, '1');
      assert.equal(values.get('a'), '1');
    } finally {
      await agent.close();
    }
  });
});
