import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { planChanges } from './plan.ts';
import type { Controller, Item, Observed, Owned } from './types.ts';

const item = (visible: string): Item => ({ fingerprint: `f-${visible}`, visible, shown: visible });
const seen = (visible: string): Observed => ({ visible, shown: visible });
const made = (visible: string, before?: string): Owned => ({
  made: true,
  fingerprint: `f-${visible}`,
  visible,
  ...(before !== undefined && { before }),
});
const plan = (
  foreign: Controller['foreign'],
  known: {
    readonly desired?: Readonly<Record<string, Item>>;
    readonly observed?: Readonly<Record<string, Observed>>;
    readonly owned?: Readonly<Record<string, Owned>>;
  },
) =>
  planChanges(
    { foreign, section: 'sysctls' },
    {
      desired: new Map(Object.entries(known.desired ?? {})),
      observed: new Map(Object.entries(known.observed ?? {})),
      owned: new Map(Object.entries(known.owned ?? {})),
    },
  );

describe('the plan of a section', () => {
  it('creates what is missing, and reports it as drift if it was made before', () => {
    const first = plan('exclusive', { desired: { a: item('1') } });
    assert.deepEqual(first.changes, [
      { action: 'create', section: 'sysctls', name: 'a', to: '1', drift: false },
    ]);
    const again = plan('exclusive', { desired: { a: item('1') }, owned: { a: made('1') } });
    assert.equal(again.changes[0]?.drift, true);
  });

  it('leaves an item that somebody else made, and reports it', () => {
    const found = plan('exclusive', { desired: { a: item('1') }, observed: { a: seen('1') } });
    assert.deepEqual([found.changes, found.conflicts.length, found.records.size], [[], 1, 0]);
  });

  it('does not treat an item as ours that somebody else made just before its creation', () => {
    const intent = { ...made('1'), made: false };
    const other = plan('exclusive', {
      desired: { a: item('1') },
      observed: { a: seen('2') },
      owned: { a: intent },
    });
    assert.deepEqual([other.changes, other.conflicts.length, other.forget], [[], 1, ['a']]);
    const gone = plan('exclusive', { observed: { a: seen('2') }, owned: { a: intent } });
    assert.deepEqual([gone.changes, gone.forget], [[], ['a']]);
  });

  it('treats an item as ours that was created just before the process ended', () => {
    const intent = { ...made('1'), made: false };
    const found = plan('exclusive', {
      desired: { a: item('1') },
      observed: { a: seen('1') },
      owned: { a: intent },
    });
    assert.deepEqual([found.changes, found.records.get('a')?.made], [[], true]);
  });

  it('neither changes nor removes an item whose name belongs to somebody else, whatever the records say', () => {
    const theirs = { ...seen(''), foreign: 'it is theirs' };
    const wanted = plan('exclusive', {
      desired: { a: item('1') },
      observed: { a: theirs },
      owned: { a: made('1') },
    });
    assert.deepEqual([wanted.changes, wanted.conflicts], [[], [{ name: 'a', why: 'it is theirs' }]]);
    const left = plan('exclusive', { observed: { a: theirs }, owned: { a: made('1') } });
    assert.deepEqual([left.changes, left.forget], [[], ['a']]);
    const beside = plan('exclusive', {
      observed: { a: { ...theirs, visible: '1' } },
      owned: { a: made('1') },
    });
    assert.equal(beside.changes[0]?.action, 'delete');
  });

  it('applies a field that the node does not show when it changes', () => {
    const wanted = { ...item('1'), fingerprint: 'other' };
    const found = plan('exclusive', {
      desired: { a: wanted },
      observed: { a: seen('1') },
      owned: { a: made('1') },
    });
    assert.deepEqual(
      found.changes.map(({ action, drift }) => [action, drift]),
      [['update', false]],
    );
  });

  it('records a value before it is changed for the first time, even if it is already the desired value', () => {
    const found = plan('restores', { desired: { a: item('1') }, observed: { a: seen('0') } });
    assert.equal(found.changes[0]?.action, 'update');
    assert.equal(found.records.get('a')?.before, '0');
    const same = plan('restores', { desired: { a: item('1') }, observed: { a: seen('1') } });
    assert.deepEqual([same.changes, same.records.get('a')?.before], [[], '1']);
  });

  it('restores the original value, not the value of a drift', () => {
    const drifted = plan('restores', {
      desired: { a: item('1') },
      observed: { a: seen('9') },
      owned: { a: made('1', '0') },
    });
    assert.deepEqual([drifted.changes[0]?.drift, drifted.records.size], [true, 0]);
    const removed = plan('restores', { observed: { a: seen('1') }, owned: { a: made('1', '0') } });
    assert.deepEqual(
      removed.changes.map(({ action, before }) => [action, before]),
      [['delete', '0']],
    );
  });

  it('uses a shared item without owning it', () => {
    const found = plan('shared', { desired: { a: item('present') }, observed: { a: seen('present') } });
    assert.deepEqual([found.changes, found.conflicts, found.records.size], [[], [], 0]);
    assert.deepEqual(plan('shared', { observed: { a: seen('present') } }).changes, []);
  });

  it('replaces and removes an item that is ours by its label, without a record', () => {
    const ours = { ...seen('half'), ours: true as const };
    const half = plan('exclusive', { desired: { a: item('1') }, observed: { a: ours } });
    assert.deepEqual(
      half.changes.map(({ action }) => action),
      ['update'],
    );
    const left = plan('exclusive', { observed: { a: ours } });
    assert.deepEqual(
      left.changes.map(({ action }) => action),
      ['delete'],
    );
  });

  it('never deletes an item that was not recorded, and never changes it when it is exclusive', () => {
    const names = fc.constantFrom('a', 'b', 'c');
    const values = fc.constantFrom('1', '2');
    const some = <Value>(of: (value: string) => Value) =>
      fc.dictionary(names, values.map(of), { maxKeys: 3, noNullPrototype: true });
    fc.assert(
      fc.property(
        fc.constantFrom('exclusive', 'restores', 'shared'),
        some(item),
        some(seen),
        some((value) => made(value, '0')),
        (foreign, desired, observed, owned) => {
          const { changes } = plan(foreign, { desired, observed, owned });
          for (const { action, name } of changes) {
            const isOurs = Object.hasOwn(owned, name);
            if (action === 'delete') assert.ok(isOurs && !Object.hasOwn(desired, name));
            if (action === 'update' && foreign !== 'restores') assert.ok(isOurs || foreign !== 'exclusive');
            if (action === 'create') assert.ok(!Object.hasOwn(observed, name));
          }
        },
      ),
    );
  });

  it('plans nothing after its changes were made', () => {
    for (const foreign of ['exclusive', 'restores', 'shared'] as const) {
      const desired = { a: item('1'), b: item('2') };
      const after = plan(foreign, {
        desired,
        observed: { a: seen('1'), b: seen('2') },
        owned: { a: made('1', '0'), b: made('2', '0') },
      });
      assert.deepEqual([after.changes, after.conflicts, after.forget], [[], [], []]);
    }
  });
});
