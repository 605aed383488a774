import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createLogger } from '../../base/log/index.ts';
import { stateWithDefaults } from '../document/defaults.ts';
import { fingerprintOf } from '../model/fingerprint.ts';
import type { Controller, NodeState, Owned, Section } from '../model/types.ts';
import { openNodeFiles } from '../store/node-files.ts';
import type { DesiredState } from '../store/node-files.ts';
import { openRecords } from './records.ts';
import { startReconciler } from './reconciler.ts';
import type { Reconciler } from './reconciler.ts';

/** A controller of files in a folder, and a state whose settings are their names and contents. */

const home = mkdtempSync(join(tmpdir(), 'pc-node-reconcile-'));
const log = createLogger({ level: 'silent' });
let count = 0;

interface Stage {
  readonly folder: string;
  readonly files: ReturnType<typeof openNodeFiles>;
}
function stage(): Stage {
  count += 1;
  const folder = join(home, `stage-${count}`);
  mkdirSync(join(folder, 'things'), { recursive: true });
  return { folder, files: openNodeFiles(folder) };
}

interface More {
  readonly section?: Section;
  readonly after?: readonly Section[];
  readonly atOnce?: number;
  readonly before?: (name: string, signal: AbortSignal) => unknown;
}
function fileController(
  { folder }: Stage,
  { section = 'sysctls', after: later = [], atOnce, before }: More = {},
): Controller {
  const at = (name: string): string => join(folder, 'things', name);
  return {
    section,
    after: later,
    foreign: 'exclusive',
    backsOff: false,
    ...(atOnce !== undefined && { atOnce }),
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
          [...names].flatMap((name) => {
            if (!existsSync(at(name))) return [];
            const text = readFileSync(at(name), 'utf8');
            return [[name, { visible: text, shown: text }] as const];
          }),
        ),
      ),
    async apply({ action, name, to = '' }, _, { signal }) {
      await before?.(name, signal);
      if (action === 'delete') rmSync(at(name));
      else writeFileSync(at(name), to);
    },
  };
}

const desiredOf = (sysctls: Readonly<Record<string, string>>): DesiredState => {
  const state: NodeState = stateWithDefaults({ sysctls }, []);
  return {
    revision: fingerprintOf(state),
    source: { kind: 'file', file: 'x' },
    appliedAt: new Date().toISOString(),
    state,
  };
};
async function until(isSo: () => boolean): Promise<void> {
  for (const began = performance.now(); !isSo(); await sleep(10))
    if (performance.now() - began > 20_000) assert.fail('not within 20 s');
}
async function withReconciler(
  { files }: Stage,
  controllers: readonly Controller[],
  body: (reconciler: Reconciler) => Promise<void>,
): Promise<void> {
  const reconciler = startReconciler({ controllers, records: await openRecords(files), log, intervalMs: 50 });
  try {
    await body(reconciler);
  } finally {
    await reconciler.close();
  }
}
const ownedOf = ({ folder }: Stage): Record<string, Owned> =>
  (JSON.parse(readFileSync(join(folder, 'owned.json'), 'utf8')) as { sysctls: Record<string, Owned> })
    .sysctls;
const isConverged = (reconciler: Reconciler) => () => reconciler.convergedSince() !== undefined;

describe('the reconciler', () => {
  after(() => rmSync(home, { recursive: true }));

  it('records an item on disk before it creates the item', async () => {
    const at = stage();
    const seen: (boolean | undefined)[] = [];
    const before = (name: string): void => void seen.push(ownedOf(at)[name]?.made);
    await withReconciler(at, [fileController(at, { before })], async (reconciler) => {
      reconciler.use(desiredOf({ a: '1' }));
      await until(isConverged(reconciler));
    });
    assert.deepEqual([seen, ownedOf(at)['a']?.made], [[false], true]);
  });

  it('continues after a kill on either side of a creation', async () => {
    for (const wasMade of [false, true]) {
      const at = stage();
      const { state } = desiredOf({ a: '1' });
      const item = fileController(at).items(state).get('a');
      assert.ok(item);
      const { fingerprint, visible } = item;
      await at.files.writeOwned({ sysctls: { a: { made: false, fingerprint, visible } } });
      if (wasMade) writeFileSync(join(at.folder, 'things/a'), '1');
      await withReconciler(at, [fileController(at)], async (reconciler) => {
        reconciler.use(desiredOf({ a: '1' }));
        await until(isConverged(reconciler));
        reconciler.use(desiredOf({}));
        await until(isConverged(reconciler));
      });
      assert.deepEqual(readdirSync(join(at.folder, 'things')), []);
      assert.deepEqual(ownedOf(at), {});
    }
  });

  it('repairs drift and counts it, and never touches what somebody else made', async () => {
    const at = stage();
    const other = join(at.folder, 'things/b');
    writeFileSync(other, 'theirs');
    await withReconciler(at, [fileController(at)], async (reconciler) => {
      reconciler.use(desiredOf({ a: '1', b: '2' }));
      const status = () => reconciler.status().sections[0];
      await until(() => status()?.failures[0]?.item === 'b' && existsSync(join(at.folder, 'things/a')));
      writeFileSync(join(at.folder, 'things/a'), 'drifted');
      await until(() => readFileSync(join(at.folder, 'things/a'), 'utf8') === '1');
      await until(() => status()?.counts.healed === 1);
      assert.equal(reconciler.convergedSince(), undefined);
      reconciler.use(desiredOf({}));
      await until(isConverged(reconciler));
    });
    assert.equal(readFileSync(other, 'utf8'), 'theirs');
  });

  it('continues with the other sections when one fails, in the required order', async () => {
    const at = stage();
    const order: string[] = [];
    const refuse = (): void => {
      order.push('first');
      throw new Error('refused');
    };
    const broken = fileController(at, { before: refuse });
    const next = fileController(stage(), {
      section: 'images',
      after: ['sysctls'],
      before: () => order.push('second'),
    });
    await withReconciler(at, [next, broken], async (reconciler) => {
      reconciler.use(desiredOf({ a: '1' }));
      await until(() =>
        reconciler
          .status()
          .sections.some(({ section, state }) => section === 'images' && state === 'in sync'),
      );
      const failed = reconciler.status().sections.find(({ section }) => section === 'sysctls');
      assert.deepEqual([failed?.state, failed?.failures[0]?.why], ['failed', 'refused']);
    });
    assert.deepEqual(order.slice(0, 2), ['first', 'second']);
  });

  it('makes no more changes of a state that is no longer desired', async () => {
    const at = stage();
    const files = fileController(at);
    const made: string[] = [];
    const taken = Promise.withResolvers<void>();
    const apply: Controller['apply'] = async (change, ...more) => {
      await taken.promise;
      made.push(change.name);
      return files.apply(change, ...more);
    };
    await withReconciler(at, [{ ...files, apply }], async (reconciler) => {
      reconciler.use(desiredOf({ a: '1', b: '1', c: '1' }));
      await until(() => existsSync(join(at.folder, 'owned.json')));
      reconciler.use(desiredOf({ d: '1' }));
      taken.resolve();
      await until(isConverged(reconciler));
    });
    assert.deepEqual(made, ['a', 'a', 'd']);
    assert.deepEqual(readdirSync(join(at.folder, 'things')), ['d']);
  });

  it('repairs items, and takes another state, while the change of another item lasts', async () => {
    const at = stage();
    const thing = (name: string): string => join(at.folder, 'things', name);
    const before = async (name: string, signal: AbortSignal): Promise<void> => {
      if (name === 'slow') await new Promise((resolve) => signal.addEventListener('abort', resolve));
      signal.throwIfAborted();
    };
    const next = fileController(stage(), { section: 'services', after: ['sysctls'] });
    await withReconciler(at, [fileController(at, { atOnce: 2, before }), next], async (reconciler) => {
      const stateOf = (section: Section) =>
        reconciler.status().sections.find((one) => one.section === section)?.state;
      reconciler.use(desiredOf({ slow: '1', a: '1' }));
      await until(() => existsSync(thing('a')) && stateOf('services') === 'in sync');
      rmSync(thing('a'));
      await until(() => existsSync(thing('a')));
      assert.deepEqual([stateOf('sysctls'), isConverged(reconciler)()], ['changing', false]);
      reconciler.use(desiredOf({ b: '1' }));
      await until(isConverged(reconciler));
    });
    assert.deepEqual([readdirSync(join(at.folder, 'things')), Object.keys(ownedOf(at))], [['b'], ['b']]);
  });

  it('owns an item that something else of the state creates while the item waits for its turn', async () => {
    const at = stage();
    let observations = 0;
    const before = async (name: string): Promise<void> => {
      if (name !== 'first') return;
      writeFileSync(join(at.folder, 'things/second'), '2');
      await until(() => observations > 1);
    };
    const files = fileController(at, { atOnce: 1, before });
    const controller: Controller = {
      ...files,
      foreign: 'shared',
      observe(...of) {
        observations += 1;
        return files.observe(...of);
      },
    };
    await withReconciler(at, [controller], async (reconciler) => {
      reconciler.use(desiredOf({ first: '1', second: '2' }));
      await until(isConverged(reconciler));
      reconciler.use(desiredOf({}));
      await until(isConverged(reconciler));
    });
    assert.deepEqual(readdirSync(join(at.folder, 'things')), []);
  });

  it('goes on with items that had no turn, without another observation interval', async () => {
    const at = stage();
    const files = fileController(at, { atOnce: 1, before: () => sleep(600) });
    const records = await openRecords(at.files);
    // A section that waits for its next observation waits longer than the test.
    const reconciler = startReconciler({ controllers: [files], records, log, intervalMs: 600_000 });
    try {
      reconciler.use(
        desiredOf(Object.fromEntries(Array.from({ length: 10 }, (_, index) => [`item-${index}`, '1']))),
      );
      await until(isConverged(reconciler));
    } finally {
      await reconciler.close();
    }
    assert.equal(readdirSync(join(at.folder, 'things')).length, 10);
  });

  it('deletes several items at once where several may change at once', async () => {
    const at = stage();
    let [now, most] = [0, 0];
    const files = fileController(at, { atOnce: 2 });
    const apply: Controller['apply'] = async (change, ...more) => {
      now += 1;
      most = Math.max(most, now);
      if (change.action === 'delete') await sleep(20);
      await files.apply(change, ...more);
      now -= 1;
    };
    await withReconciler(at, [{ ...files, apply }], async (reconciler) => {
      reconciler.use(desiredOf({ a: '1', b: '1', c: '1' }));
      await until(isConverged(reconciler));
      most = 0;
      reconciler.use(desiredOf({}));
      await until(isConverged(reconciler));
    });
    assert.equal(most, 2);
    assert.deepEqual(readdirSync(join(at.folder, 'things')), []);
  });

  it('waits longer after each failure', async () => {
    const at = stage();
    const tries: number[] = [];
    const before = (): void => {
      tries.push(performance.now());
      throw new Error('refused');
    };
    await withReconciler(at, [fileController(at, { before })], async (reconciler) => {
      reconciler.use(desiredOf({ a: '1' }));
      await until(() => tries.length === 3);
    });
    const [first = 0, second = 0, third = 0] = tries;
    assert.ok(second - first >= 990 && third - second >= 1990, tries.join());
  });
});
