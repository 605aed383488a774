import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { decide, groupStatus, haltedBy, reasonToWrite } from './decide.ts';
import type { GroupView, OwnView } from './decide.ts';
import type { GroupSpec, NodeRecord } from './records.ts';

const [before, next] = ['a'.repeat(64), 'b'.repeat(64)];
const names = ['n1', 'n2', 'n3', 'n4', 'n5'];
const spec = (more: Partial<GroupSpec> = {}): GroupSpec => ({
  revision: next,
  generation: 2,
  attempt: 1,
  stable: before,
  selector: { names },
  rollout: {
    maxUnavailable: 1,
    pauseSeconds: 0,
    deadlineSeconds: 60,
    gate: { healthySeconds: 5, daemonReady: true },
  },
  ...more,
});
const record = (more: Partial<NodeRecord> = {}): NodeRecord => ({
  generation: 1,
  attempt: 1,
  revision: before,
  phase: 'ready',
  labels: {},
  at: '2030-01-01T00:00:00.000Z',
  ...more,
});
const changing = record({ generation: 2, phase: 'changing' });
const view = (
  nodes: Readonly<Record<string, NodeRecord>>,
  places: readonly string[] = [],
  one = spec(),
): GroupView => ({
  spec: one,
  nodes: new Map(Object.entries(nodes)),
  places: new Set(places),
});
const all = Object.fromEntries(names.map((name) => [name, record()]));
const own = (name: string, more: Partial<OwnView> = {}): OwnView => ({
  name,
  labels: {},
  revision: before,
  changingMs: 0,
  quietMs: 60_000,
  ...more,
});

describe('the reason of a change that lasts', () => {
  const view1 = (more: Partial<NodeRecord> = {}, places = ['n1']): GroupView =>
    view({ ...all, n1: { ...changing, ...more } }, places);
  const slow = own('n1', { revision: next, changingMs: 30_000, problem: 'no image' });

  it('is written by a node that has not finished after 30 seconds, and again only if it is another one', () => {
    assert.equal(reasonToWrite(view1(), { ...slow, changingMs: 29_999 }, undefined), undefined);
    assert.equal(reasonToWrite(view1(), slow, undefined), 'no image');
    assert.equal(reasonToWrite(view1({ why: 'no image' }), slow, 90_000), undefined);
    assert.equal(reasonToWrite(view1({ why: 'no image' }), { ...slow, problem: 'x' }, 90_000), 'x');
    const { problem: _none, ...well } = slow;
    assert.equal(reasonToWrite(view1({ why: 'no image' }), well, 90_000), '');
    assert.equal(reasonToWrite(view1(), { ...well, daemonProblem: 'not ready' }, undefined), 'not ready');
    assert.equal(reasonToWrite(view1(), { ...slow, untaken: 'disk full' }, undefined), 'disk full');
  });

  it('is written so rarely that the nodes that wait get their turns', () => {
    assert.equal(reasonToWrite(view1({ why: 'no image' }), { ...slow, problem: 'x' }, 59_999), undefined);
    const turn = own('n5', { quietMs: 30_000 });
    const two = spec({ rollout: { ...spec().rollout, maxUnavailable: 2 } });
    assert.equal(decide(view({ ...all, n1: changing }, ['n1'], two), turn).do, 'take');
  });

  it('is that of the current change only, and only while the node has its place', () => {
    assert.equal(reasonToWrite(view1({}, []), slow, undefined), undefined);
    assert.equal(reasonToWrite(view1({ attempt: 2 }), slow, undefined), undefined);
    assert.equal(reasonToWrite(view1({ phase: 'failed' }), slow, undefined), undefined);
  });

  it('is in the status of the group', () => {
    const [first] = groupStatus(view1({ why: 'no image' })).nodes;
    assert.deepEqual(first, { name: 'n1', phase: 'changing', revision: before, why: 'no image' });
  });
});

it('the status of a group says why the phase of a node is unknown', () => {
  const [first] = groupStatus(view({})).nodes;
  assert.equal(first?.phase, 'unknown');
  assert.match(first?.why ?? '', /no agent has made itself known/u);
});

describe('what a node of a group does next', () => {
  it('makes itself known first', () => {
    assert.equal(decide(view({}), own('n1')).do, 'register');
  });

  it('takes a place in its turn while a place is free', () => {
    assert.equal(decide(view(all), own('n1', { quietMs: 0 })).do, 'take');
    assert.equal(decide(view(all), own('n3', { quietMs: 0 })).do, 'wait');
    assert.equal(decide(view(all), own('n3', { quietMs: 4000 })).do, 'take');
    assert.equal(decide(view({ ...all, n1: changing }, ['n1']), own('n2')).do, 'wait');
  });

  it('does not wait for a place of a node that the group does not select', () => {
    const stranger = view({ ...all, other: record({ generation: 2, phase: 'changing' }) }, ['other', 'gone']);
    assert.equal(decide(stranger, own('n1')).do, 'take');
    const labelled = view(
      { n1: record(), n2: record({ labels: { role: 'web' } }) },
      ['n2'],
      spec({ selector: { names: ['n1'], labels: { role: 'web' } } }),
    );
    assert.equal(decide(labelled, own('n1')).do, 'wait');
  });

  it('applies the revision when it has a place, and passes the gate when it stayed well long enough', () => {
    const here = view({ ...all, n1: changing }, ['n1']);
    assert.equal(decide(here, own('n1')).do, 'apply');
    assert.equal(decide(here, own('n1', { revision: next, healthyMs: 4000 })).do, 'wait');
    assert.equal(decide(here, own('n1', { revision: next, healthyMs: 5000 })).do, 'ready');
    const away = own('n1', { revision: next, healthyMs: 5000, daemonProblem: 'the daemon is away' });
    assert.equal(decide(here, away).do, 'wait');
  });

  it('fails after the deadline, with what is wrong', () => {
    const here = view({ ...all, n1: changing }, ['n1']);
    const late = decide(
      here,
      own('n1', { revision: next, changingMs: 61_000, problem: 'sysctls a: refused' }),
    );
    assert.equal(late.do, 'fail');
    assert.match(late.do === 'fail' ? late.why : '', /within 60 s: sysctls a: refused/u);
  });

  it('keeps its place during the pause, which does not count towards the deadline', () => {
    const slow = spec({ rollout: { ...spec().rollout, pauseSeconds: 30 } });
    const here = view({ ...all, n1: changing }, ['n1'], slow);
    assert.equal(
      decide(here, own('n1', { revision: next, healthyMs: 20_000, changingMs: 70_000 })).do,
      'wait',
    );
    assert.equal(
      decide(here, own('n1', { revision: next, healthyMs: 35_000, changingMs: 85_000 })).do,
      'ready',
    );
  });

  it('stops after a node that failed, and after a node whose lease ended while it changed', () => {
    const failed = view({ ...all, n1: { ...changing, phase: 'failed', why: 'bad' } });
    assert.deepEqual(haltedBy(failed), { node: 'n1', why: 'bad' });
    const lost = view({ ...all, n1: changing });
    assert.equal(haltedBy(lost)?.node, 'n1');
    for (const halted of [failed, lost])
      for (const name of names.slice(1)) assert.equal(decide(halted, own(name)).do, 'wait');
    assert.equal(decide(lost, own('n1', { revision: next, healthyMs: 99_000 })).do, 'fail');
    assert.equal(groupStatus(lost).state, 'halted');
    const stranger = view({ ...all, other: record({ generation: 2, phase: 'failed', why: 'bad' }) });
    assert.equal(haltedBy(stranger), undefined, 'a name that the group does not select');
    assert.equal(decide(stranger, own('n1')).do, 'take');
  });

  it('continues after a resume, also with the failed node, and does not change completed nodes again', () => {
    const again = spec({ attempt: 2 });
    const nodes = {
      ...all,
      n1: record({ generation: 2, revision: next }),
      n2: { ...changing, phase: 'failed' as const },
    };
    const here = view(nodes, [], again);
    assert.equal(decide(here, own('n1', { revision: next })).do, 'ready');
    assert.equal(decide(here, own('n2')).do, 'take');
  });

  it('keeps its place when another generation comes while it changes', () => {
    const newer = spec({ generation: 3 });
    assert.equal(
      decide(view({ ...all, n1: changing }, ['n1'], newer), own('n1', { revision: next })).do,
      'take',
    );
    assert.equal(decide(view({ ...all, n1: changing }, ['n1'], newer), own('n2')).do, 'wait');
  });

  it('waits for its turn again after it was ready and lost its state, and keeps a state that was forced', () => {
    const here = view({ ...all, n1: record({ generation: 2, revision: next }) });
    const { revision: _none, ...reinstalled } = own('n1');
    for (const lost of [reinstalled, own('n1')]) {
      assert.equal(decide(here, lost).do, 'register', 'its record says that it waits');
      const known = view({ ...all, n1: record({ generation: 0, attempt: 0 }) });
      assert.equal(decide(known, lost).do, 'take');
      const busy = view(Object.fromEntries([...known.nodes, ['n2', changing]]), ['n2']);
      assert.equal(decide(busy, lost).do, 'wait');
    }
    assert.equal(decide(here, own('n1', { revision: next })).do, 'wait');
    assert.equal(decide(here, own('n1', { isForced: true })).do, 'wait');
  });

  it('is complete when every named node is ready', () => {
    const done = Object.fromEntries(names.map((name) => [name, record({ generation: 2, revision: next })]));
    assert.equal(groupStatus(view(done)).state, 'complete');
    const { n5: _left, ...four } = done;
    assert.equal(groupStatus(view(four)).state, 'progressing');
  });
});

/** Plays a rollout: nodes take steps in a random order, some end for good, some can never become healthy. */
function play(order: readonly number[], bad: ReadonlySet<string>, most: number, dies: string | undefined) {
  const nodes = new Map(Object.entries(all));
  const places = new Set<string>();
  const revisions = new Map(names.map((name) => [name, before]));
  const since = new Map<string, number>();
  const one = spec({ rollout: { ...spec().rollout, maxUnavailable: most } });
  let widest = 0;
  for (const [time, index] of order.entries()) {
    const name = names[index % names.length] ?? '';
    if (name === dies && nodes.get(name)?.phase === 'changing') {
      places.delete(name);
      continue;
    }
    const started = since.get(name) ?? time;
    const isOn = revisions.get(name) === next && !bad.has(name);
    const decision = decide(
      { spec: one, nodes, places },
      own(name, {
        revision: revisions.get(name) ?? before,
        ...(isOn && { healthyMs: 10_000 }),
        changingMs: (time - started) * 10_000,
      }),
    );
    const set = (phase: NodeRecord['phase']): unknown =>
      nodes.set(name, record({ generation: 2, phase, revision: revisions.get(name) ?? before }));
    if (decision.do === 'take') {
      places.add(name);
      since.set(name, time);
      set('changing');
    } else if (decision.do === 'apply') revisions.set(name, next);
    else if (decision.do === 'ready' || decision.do === 'fail') {
      places.delete(name);
      set(decision.do === 'ready' ? 'ready' : 'failed');
    }
    widest = Math.max(widest, places.size);
  }
  return {
    widest,
    changed: [...revisions.values()].filter((revision) => revision === next).length,
    nodes,
    places,
    one,
  };
}

describe('a rollout', () => {
  const steps = fc.array(fc.nat(names.length - 1), { minLength: 150, maxLength: 200 });
  it('never changes more nodes at one time than it may, and reaches all healthy nodes', () => {
    fc.assert(
      fc.property(steps, fc.integer({ min: 1, max: 5 }), (order, most) => {
        // Every node gets its steps in the end.
        const fair = [...order, ...Array.from({ length: 200 }, (_, index) => index)];
        const { widest, changed } = play(fair, new Set(), most, undefined);
        assert.ok(widest <= most);
        assert.equal(changed, names.length);
      }),
    );
  });

  it('stops at a failed or lost node: at most as many nodes change as may change at one time, and those that completed', () => {
    fc.assert(
      fc.property(steps, fc.constantFrom(...names), fc.boolean(), (order, victim, isLost) => {
        const fair = [...order, ...Array.from({ length: 200 }, (_, index) => index)];
        const bad = new Set(isLost ? [] : [victim]);
        const { nodes, places, one } = play(fair, bad, 1, isLost ? victim : undefined);
        const view_ = { spec: one, nodes, places };
        assert.equal(haltedBy(view_)?.node, victim);
        for (const name of names) assert.notEqual(decide(view_, own(name)).do, 'take', name);
      }),
    );
  });
});
