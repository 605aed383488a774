import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Changes } from './change.ts';
import { createMerge } from './merge.ts';
import type { Merged } from './merge.ts';

/** The changes of one plugin to a few keys of one field. */
interface Step {
  readonly plugin: string;
  readonly removed: readonly string[];
  readonly set: readonly string[];
}

const changes = ({ removed, set, plugin }: Step, field = 'env'): Changes => ({
  removed: removed.map((key) => ({ field, key })),
  set: set.map((key) => ({ field, key, value: `${plugin} ${key}` })),
});

function mergeOf(steps: readonly Step[]): Merged {
  const merge = createMerge('c');
  for (const step of steps) merge.add(step.plugin, changes(step));
  return merge.merged();
}

describe('merged adjustments', () => {
  it('keep what several plugins set at different keys', () => {
    const { set } = mergeOf([
      { plugin: 'a', removed: [], set: ['x'] },
      { plugin: 'b', removed: [], set: ['y'] },
    ]);
    assert.deepEqual(
      set.map(({ plugin, key, value }) => [plugin, key, value]),
      [
        ['a', 'x', 'a x'],
        ['b', 'y', 'b y'],
      ],
    );
  });

  it('name both plugins that set one key', () => {
    assert.throws(
      () =>
        mergeOf([
          { plugin: 'a', removed: [], set: ['x'] },
          { plugin: 'b', removed: [], set: ['x'] },
        ]),
      { code: 'NRI_CONFLICT', message: /plugins a and b both set env "x"/ },
    );
  });

  it('do not put control characters of a key into the error', () => {
    const steps = ['a', 'b'].map((plugin) => ({ plugin, removed: [], set: ['x\u001b[2J\n'] }));
    assert.throws(() => mergeOf(steps), { code: 'NRI_CONFLICT', message: /^[^\u0000-\u001f]*$/ });
  });

  it('let a plugin remove a value of another plugin and set it again, but no third plugin may set it then', () => {
    const first = { plugin: 'a', removed: [], set: ['x'] };
    const second = { plugin: 'b', removed: ['x'], set: ['x'] };
    const { set, removed } = mergeOf([first, second]);
    assert.deepEqual([set[0]?.plugin, removed[0]?.plugin], ['b', 'b']);
    assert.throws(() => mergeOf([first, second, { plugin: 'c', removed: [], set: ['x'] }]), {
      code: 'NRI_CONFLICT',
    });
    const cleared = { plugin: 'b', removed: ['x'], set: [] };
    assert.throws(() => mergeOf([first, cleared, { plugin: 'c', removed: [], set: ['x'] }]), {
      message: /b and c both set/,
    });
    assert.deepEqual(mergeOf([first, cleared]).set, []);
  });

  it('collect the hooks of all plugins, also of the same program', () => {
    const merge = createMerge('c');
    for (const plugin of ['a', 'b'])
      merge.add(plugin, { removed: [], set: [{ field: 'hook', key: '/bin/x', value: plugin }] });
    assert.deepEqual(
      merge.merged().set.map(({ plugin }) => plugin),
      ['a', 'b'],
    );
  });

  it('refuse more entries than a container has', () => {
    const set = Array.from({ length: 5000 }, (_, index) => `k${index}`);
    assert.throws(() => mergeOf([{ plugin: 'a', removed: [], set }]), { code: 'NRI_TOO_LARGE' });
  });

  it('follow the rules of owners for any sequence of plugins', () => {
    const keys = fc.uniqueArray(fc.constantFrom('x', 'y', 'z'));
    const steps = fc
      .array(fc.record({ removed: keys, set: keys }), { maxLength: 6 })
      .map((all) => all.map((step, index) => ({ ...step, plugin: `p${index}` })));
    fc.assert(
      fc.property(steps, (all) => {
        // The model: who set a key last, and who cleared one that was set.
        const owner = new Map<string, string>();
        const cleared = new Map<string, string>();
        let conflict = false;
        for (const { plugin, removed, set } of all) {
          for (const key of removed)
            if (owner.has(key)) {
              owner.delete(key);
              cleared.set(key, plugin);
            }
          for (const key of set) {
            if (owner.has(key) || (cleared.get(key) ?? plugin) !== plugin) conflict = true;
            owner.set(key, plugin);
          }
          if (conflict) break;
        }
        if (conflict) {
          assert.throws(() => mergeOf(all), { code: 'NRI_CONFLICT' });
          return;
        }
        const { set } = mergeOf(all);
        assert.deepEqual(new Map(set.map(({ key, plugin }) => [key, plugin])), owner);
        assert.ok(set.every(({ key, plugin, value }) => value === `${plugin} ${key}`));
      }),
      { numRuns: 500 },
    );
  });
});
