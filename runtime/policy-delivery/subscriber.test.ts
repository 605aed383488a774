import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import {
  copyFileSync,
  cpSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { advanceRelease, releasePath, withdrawRelease } from '../../trust/policy-release/index.ts';
import { beginFleet, mayRun, startNode } from './fleet.fixture.ts';
import type { Fleet, FleetNode, NodeOptions } from './fleet.fixture.ts';

const shop = 'r.test/shop/web:1';
const other = 'r.test/other/app:1';

async function started(
  t: TestContext,
  fleet: Fleet,
  name: string,
  options?: NodeOptions,
): Promise<FleetNode> {
  const node = await startNode(fleet, name, options);
  t.after(() => node.close());
  return node;
}

/** A fleet whose one node has release 1. */
async function fleetWithNode(
  t: TestContext,
  options: NodeOptions = {},
  expiry?: Readonly<Record<string, number>>,
): Promise<{ readonly fleet: Fleet; readonly node: FleetNode }> {
  const fleet = await beginFleet(t, expiry);
  await fleet.publish(['r.test/shop/**']);
  const node = await started(t, fleet, 'node', options);
  await node.subscriber.poll();
  assert.equal(node.subscriber.status().state, 'current', JSON.stringify(node.subscriber.status()));
  return { fleet, node };
}

/** Asks, and checks that the node refused with this code and kept release 1. */
async function keepsFirst(node: FleetNode, code: string | RegExp): Promise<void> {
  const { revision } = node.subscriber.status().release ?? {};
  await node.subscriber.poll();
  const { state, release, problem } = node.subscriber.status();
  assert.match(problem?.code ?? 'none', code instanceof RegExp ? code : new RegExp(`^${code}$`));
  assert.equal(release?.number, 1);
  assert.equal(node.holder.current()?.revision, revision);
  assert.equal(state, problem?.isUnavailable === true ? 'current' : 'refused');
}

test('a node uses a release, reports it, and still has it after a restart without the source', async (t) => {
  const { fleet, node } = await fleetWithNode(t);
  assert.equal(mayRun(node.holder.current(), shop), true);
  assert.equal(mayRun(node.holder.current(), other), false);
  const { release } = node.subscriber.status();
  assert.equal(release?.revision, node.holder.current()?.revision);
  await node.close();
  fleet.fault = (request) => void request.destroy() === undefined;
  const again = await started(t, fleet, 'node');
  assert.equal(again.holder.current()?.revision, release?.revision);
  await keepsFirst(again, 'TRUST_TUF_UNREACHABLE');
});

test('a rollback, a mix and a freeze are refused, and the release in force stays', async (t) => {
  let ahead = 0;
  const { fleet, node } = await fleetWithNode(t, { now: () => new Date(Date.now() + ahead) });
  const saved = fleet.folder('saved');
  cpSync(fleet.web, saved, { recursive: true });
  await fleet.publish(['r.test/other/**'], { halt: { denials: 0, watch: 0 } });
  // The timestamp of before with a newer snapshot behind it is trusted already; an older one is not.
  const newest = await started(t, fleet, 'newest');
  await newest.subscriber.poll();
  assert.equal(newest.subscriber.status().release?.number, 2);
  copyFileSync(join(saved, 'timestamp.json'), join(fleet.web, 'timestamp.json'));
  await newest.subscriber.poll();
  assert.equal(newest.subscriber.status().problem?.code, 'TRUST_TUF_ROLLBACK');
  assert.equal(newest.subscriber.status().release?.number, 2);
  // A node that knows only release 1 is frozen there, until the timestamp expires.
  ahead = 60 * 24 * 3_600_000;
  await node.subscriber.poll();
  const { problem, state, release } = node.subscriber.status();
  assert.deepEqual([problem?.code, state, release?.number], ['TRUST_TUF_EXPIRED', 'stale', 1]);
  assert.equal(node.holder.current(), undefined, 'onStale: deny');
});

test('targets that are signed by a replaced key are refused', async (t) => {
  const { fleet, node } = await fleetWithNode(t);
  const thief = fleet.folder('thief');
  cpSync(fleet.folder('owner'), thief, { recursive: true });
  await fleet.asOwner(async (owner) => {
    for (const role of ['targets', 'snapshot', 'timestamp'] as const)
      await owner.rotate(role, { files: [], threshold: 1 });
    await owner.publish({ to: [], countersign: false, expiry: {} });
  });
  const roots = readdirSync(fleet.web).filter((name) => name.endsWith('.root.json'));
  const kept = new Map(roots.map((name) => [name, readFileSync(join(fleet.web, name))]));
  await node.subscriber.poll();
  assert.equal(node.subscriber.status().state, 'current');
  // The thief publishes by the keys of before; the new root, which the node has, names others.
  rmSync(fleet.folder('owner'), { recursive: true });
  cpSync(thief, fleet.folder('owner'), { recursive: true });
  rmSync(fleet.web, { recursive: true });
  cpSync(fleet.folder('owner'), thief, { recursive: true });
  await fleet.publish(['**'], { halt: { denials: 0, watch: 0 } });
  for (const [name, bytes] of kept) writeFileSync(join(fleet.web, name), bytes);
  await keepsFirst(node, 'TRUST_TUF_UNSIGNED');
});

test('an archive that is altered, short or missing is refused', async (t) => {
  const { fleet, node } = await fleetWithNode(t);
  const { release } = await fleet.publish(['r.test/**']);
  const folder = join(fleet.web, 'targets', 'stable');
  const file = join(folder, readdirSync(folder).find((name) => name.startsWith(release.sha256)) ?? '');
  const whole = readFileSync(file);
  const altered = Buffer.from(whole);
  altered[600] = (altered[600] ?? 0) ^ 1;
  writeFileSync(file, altered);
  await keepsFirst(node, 'TRUST_TUF_WRONG_HASH');
  truncateSync(file, 1000);
  await keepsFirst(node, 'TRUST_TUF_WRONG_LENGTH');
  rmSync(file);
  await keepsFirst(node, 'TRUST_TUF_MISSING');
  writeFileSync(file, Buffer.concat([whole, Buffer.alloc(512)]));
  await keepsFirst(node, 'TRUST_TUF_TOO_LARGE');
  writeFileSync(file, whole);
  await node.subscriber.poll();
  assert.equal(node.subscriber.status().release?.number, 2);
});

test('a source that aborts, returns errors or requests a later retry changes nothing', async (t) => {
  const { fleet, node } = await fleetWithNode(t);
  fleet.fault = (_, response) => {
    response.writeHead(503, { 'retry-after': '7200' }).end();
    return true;
  };
  await keepsFirst(node, 'TRUST_TUF_UNREACHABLE');
  const wait = Date.parse(node.subscriber.status().next ?? '') - Date.now();
  assert.ok(wait > 7_000_000, `the next request comes after ${wait} ms`);
  fleet.fault = (_, response) => {
    response.writeHead(200, { 'content-length': '1000' }).write('{"signed":');
    response.destroy();
    return true;
  };
  await keepsFirst(node, /^TRUST_TUF_/u);
});

test('a release that refuses running workloads is halted while it would refuse them, and is left if it is withdrawn', async (t) => {
  const workloads = [shop];
  const { fleet, node } = await fleetWithNode(t, { workloads });
  await fleet.publish(['r.test/other/**']);
  await node.subscriber.poll();
  const halted = node.subscriber.status();
  assert.deepEqual([halted.state, halted.release?.number, halted.newest?.number], ['halted', 1, 2]);
  assert.deepEqual(
    [halted.halted?.when, halted.halted?.count, halted.halted?.denials[0]?.reference],
    ['before', 1, shop],
  );
  workloads.pop();
  await node.subscriber.poll();
  assert.deepEqual(
    [node.subscriber.status().state, node.subscriber.status().release?.number],
    ['watching', 2],
  );
  await fleet.asOwner((owner) => withdrawRelease(owner, 'stable', 2));
  workloads.push(other);
  await node.subscriber.poll();
  const left = node.subscriber.status();
  assert.deepEqual(
    [left.state, left.release?.number],
    ['current', 1],
    'denials do not keep a withdrawn release in force',
  );
});

test('refusals that a release causes bring the previous release back, and other refusals do not', async (t) => {
  const { fleet, node } = await fleetWithNode(t);
  await fleet.publish(['r.test/other/**'], { halt: { denials: 2, watch: 600 } });
  await node.subscriber.poll();
  assert.equal(node.subscriber.status().state, 'watching');
  const refuse = (reference: string): void =>
    node.subscriber.refused({
      ...{ namespace: 'shop', reference, outcome: 'deny', rule: '', verdict: 'v' },
      admittedBy: (policy) => Promise.resolve(mayRun(policy, reference)),
    });
  for (const reference of ['r.test/bad:1', 'r.test/bad:2', shop, shop]) refuse(reference);
  await pause(50);
  assert.equal(
    node.subscriber.status().release?.number,
    2,
    'one image was admitted before, and repeated requests count once',
  );
  refuse('r.test/shop/api:1');
  for (let turns = 0; node.subscriber.status().release?.number === 2 && turns < 500; turns += 1)
    await pause(20);
  const { state, release, halted } = node.subscriber.status();
  assert.deepEqual([state, release?.number, halted?.when, halted?.count], ['halted', 1, 'after', 2]);
  assert.equal(mayRun(node.holder.current(), shop), true);
  await node.subscriber.poll();
  assert.equal(node.subscriber.status().release?.number, 1, 'the release is not used again');
  await fleet.publish(['r.test/**']);
  await node.subscriber.poll();
  assert.equal(node.subscriber.status().release?.number, 3);
});

test('a stale release denies, stays in force, or decides only about content of the node', async (t) => {
  const fleet = await beginFleet(t);
  await fleet.publish(['r.test/shop/**']);
  let ahead = 0;
  const now = (): Date => new Date(Date.now() + ahead);
  for (const onStale of ['deny', 'keep', 'previouslyAdmitted'] as const) {
    ahead = 0;
    const node = await started(t, fleet, onStale, { onStale, now });
    await node.subscriber.poll();
    const expires = Date.parse(node.subscriber.status().expires ?? '');
    ahead = expires - Date.now() + 1000;
    await node.subscriber.poll();
    assert.equal(node.subscriber.status().state, 'stale');
    assert.equal(node.holder.current() === undefined, onStale === 'deny');
    assert.equal(node.holder.refusesNew() === undefined, onStale === 'keep');
    if (onStale !== 'previouslyAdmitted') continue;
    ahead += 3600 * 1000;
    await node.subscriber.poll();
    assert.equal(node.holder.current(), undefined, 'the time for the content of the node is over');
    assert.match(node.holder.problem() ?? '', /stale/u);
  }
});

test('a clock that jumps makes the metadata stale or current within a minute', async (t) => {
  let ahead = 0;
  const now = (): Date => new Date(Date.now() + ahead);
  const { fleet, node } = await fleetWithNode(t, { now });
  await node.close();
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { holder } = await started(t, fleet, 'node', { now });
  assert.equal(mayRun(holder.current(), shop), true);
  ahead = 60 * 24 * 3_600_000;
  t.mock.timers.tick(60_000);
  assert.equal(holder.current(), undefined, 'onStale: deny');
  ahead = 0;
  t.mock.timers.tick(60_000);
  assert.equal(mayRun(holder.current(), shop), true);
});

test('files of a release that were changed on the node are not loaded', async (t) => {
  const { fleet, node } = await fleetWithNode(t);
  const revision = node.holder.current()?.revision;
  const folder = join(fleet.folder('node'), 'releases');
  const file = join(folder, readdirSync(folder)[0] ?? '', 'policy.yaml');
  writeFileSync(file, readFileSync(file, 'utf8').replace('r.test/shop/**', '**'));
  await node.holder.reload();
  assert.match(node.holder.problem() ?? '', /policy\.yaml differs from the signed release/u);
  assert.equal(node.holder.current()?.revision, revision);
  await node.close();
  const again = await started(t, fleet, 'node');
  assert.equal(again.holder.problem(), undefined, 'a start restores the files');
  assert.equal(again.holder.current()?.revision, revision);
});

test('a fault or a crash at any write of an activation leaves either the old or the new release in force', async (t) => {
  const fleet = await beginFleet(t);
  await fleet.publish(['r.test/shop/**']);
  const first = await started(t, fleet, 'seed');
  await first.subscriber.poll();
  await first.close();
  await fleet.publish(['r.test/**']);
  let completed = false;
  for (let failing = 1; !completed; failing += 1) {
    assert.ok(failing < 20);
    const name = `crash-${failing}`;
    cpSync(fleet.folder('seed'), fleet.folder(name), { recursive: true });
    let writes = 0;
    const full = (): void => {
      writes += 1;
      if (writes >= failing) throw Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' });
    };
    const node = await started(t, fleet, name, {
      wrap: (folder) => ({
        ...folder,
        metadata: {
          load: folder.metadata.load,
          save: async (role, bytes) => (full(), folder.metadata.save(role, bytes)),
        },
        save: async (state) => (full(), folder.save(state)),
        keepArchive: async (release, bytes) => (full(), folder.keepArchive(release, bytes)),
      }),
    });
    await node.subscriber.poll();
    completed = writes < failing;
    const number = node.subscriber.status().release?.number;
    assert.equal(number, completed ? 2 : 1);
    assert.equal(mayRun(node.holder.current(), shop), true);
    assert.equal(mayRun(node.holder.current(), other), number === 2);
    // The process ends here, without closing anything; the disk has room again.
    const again = await started(t, fleet, name);
    assert.equal(mayRun(again.holder.current(), shop), true, 'there is always a policy');
    await again.subscriber.poll();
    assert.equal(again.subscriber.status().release?.number, 2);
  }
});

test(
  '50 nodes reach a good release, and a bad release halts at the first stage',
  { timeout: 120_000 },
  async (t) => {
    const fleet = await beginFleet(t);
    const stages = [{ name: 'canary', labels: { 'policy-stage': 'canary' } }];
    await fleet.publish(['r.test/shop/**']);
    const nodes = await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        started(t, fleet, `node-${index}`, {
          labels: index < 5 ? { 'policy-stage': 'canary' } : {},
          workloads: [shop],
          intervalMs: 1000,
        }),
      ),
    );
    const numbers = (): number[] => nodes.map(({ subscriber }) => subscriber.status().release?.number ?? 0);
    const reached = async (want: (numbers: readonly number[]) => boolean): Promise<number> => {
      const begun = performance.now();
      while (!want(numbers())) {
        assert.ok(performance.now() - begun < 60_000, JSON.stringify(nodes[0]?.subscriber.status()));
        await pause(20);
      }
      return performance.now() - begun;
    };
    for (const { subscriber } of nodes) subscriber.start();
    await reached((all) => all.every((number) => number === 1));
    await fleet.publish(['r.test/shop/**', 'r.test/other/**']);
    const ms = await reached((all) => all.every((number) => number === 2));
    t.diagnostic(`50 nodes put a release in force within ${Math.round(ms)} ms`);

    // Bad: it refuses what every node runs.
    await fleet.publish(['r.test/other/**'], { stages });
    await reached(() => nodes.slice(0, 5).every(({ subscriber }) => subscriber.status().state === 'halted'));
    await reached(() => nodes.slice(5).every(({ subscriber }) => subscriber.status().newest?.number === 3));
    assert.deepEqual(new Set(numbers()), new Set([2]), 'no node has put it in force');
    const reports = nodes.map(({ subscriber }) => {
      const { node, channel, state, release } = subscriber.status();
      return { ...node, channel, state, release: release?.number };
    });
    await assert.rejects(
      fleet.asOwner((owner) => advanceRelease(owner, 'stable', reports)),
      { code: 'TRUST_RELEASE_NOT_READY' },
    );
    assert.equal(releasePath({ channel: 'stable', number: 3 }), 'stable/3.tar');
  },
);
