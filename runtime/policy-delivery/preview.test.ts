import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { advanceRelease, withdrawRelease } from '../../trust/policy-release/index.ts';
import { beginFleet, startNode } from './fleet.fixture.ts';
import type { Fleet, FleetNode } from './fleet.fixture.ts';

const shop = 'r.test/shop/web:1';
const canary = { name: 'canary', labels: { stage: 'canary' } };

/** Asks the source, and waits for the preview. */
async function ask({ subscriber }: FleetNode): Promise<void> {
  await subscriber.poll();
  await subscriber.previewed();
}

/** A node with release 1 and these workloads, and a release 2 for canaries that refuses the shop. */
async function waiting(
  t: TestContext,
  workloads: readonly string[],
): Promise<{ readonly fleet: Fleet; readonly node: FleetNode }> {
  const fleet = await beginFleet(t);
  await fleet.publish(['r.test/shop/**']);
  const node = await startNode(fleet, 'node', { workloads });
  t.after(() => node.close());
  await ask(node);
  await fleet.publish(['r.test/other/**'], { stages: [canary] });
  return { fleet, node };
}

test('a node lists the workloads that a release that has not reached its stage would refuse', async (t) => {
  const workloads = [shop];
  const { node } = await waiting(t, workloads);
  const { revision } = node.subscriber.status().release ?? {};
  await ask(node);
  const { state, release, upcoming } = node.subscriber.status();
  assert.deepEqual([state, release?.number, release?.revision], ['pending', 1, revision]);
  assert.deepEqual([upcoming?.release, upcoming?.count], ['stable/2', 1]);
  assert.deepEqual(upcoming?.denials, [{ namespace: 'shop', reference: shop, outcome: 'deny', rule: '' }]);
  assert.notEqual(upcoming?.revision, revision);
  assert.equal(node.holder.current()?.revision, revision, 'the release is not put in force');
  workloads.pop();
  await ask(node);
  assert.equal(node.subscriber.status().upcoming?.count, 0, 'it decides again at each request');
});

test('a release that reaches the node later is not fetched again, and is no longer upcoming', async (t) => {
  const { fleet, node } = await waiting(t, []);
  await ask(node);
  let fetched = 0;
  fleet.fault = (request) => {
    if (request.url?.includes('/targets/') === true) fetched += 1;
    return false;
  };
  await fleet.asOwner((owner) => advanceRelease(owner, 'stable', undefined));
  await ask(node);
  const { release, upcoming } = node.subscriber.status();
  assert.deepEqual([release?.number, upcoming, fetched], [2, undefined, 0]);
});

test('a release that is withdrawn before it reaches the node leaves no files', async (t) => {
  const { fleet, node } = await waiting(t, [shop]);
  await ask(node);
  await fleet.asOwner((owner) => withdrawRelease(owner, 'stable', 2));
  await ask(node);
  assert.equal(node.subscriber.status().upcoming, undefined);
  for (const place of ['archives', 'releases'])
    assert.equal(readdirSync(join(fleet.folder('node'), place)).length, 1, place);
});

test('a release that is withdrawn while the daemon is down leaves no files', async (t) => {
  const { fleet, node } = await waiting(t, [shop]);
  await ask(node);
  await node.close();
  await fleet.asOwner((owner) => withdrawRelease(owner, 'stable', 2));
  const again = await startNode(fleet, 'node', { workloads: [shop] });
  t.after(() => again.close());
  await ask(again);
  for (const place of ['archives', 'releases'])
    assert.equal(readdirSync(join(fleet.folder('node'), place)).length, 1, place);
});

test('a halted release is upcoming, with the workloads that it would refuse', async (t) => {
  const { fleet, node } = await waiting(t, [shop]);
  await fleet.publish(['r.test/another/**']);
  await ask(node);
  const { state, upcoming } = node.subscriber.status();
  assert.deepEqual([state, upcoming?.release, upcoming?.count], ['halted', 'stable/3', 1]);
});

test('an altered archive is reported as a problem of the release, not of the node', async (t) => {
  const { fleet, node } = await waiting(t, [shop]);
  const folder = join(fleet.web, 'targets', 'stable');
  for (const name of readdirSync(folder)) {
    const bytes = readFileSync(join(folder, name));
    bytes[600] = (bytes[600] ?? 0) ^ 1;
    writeFileSync(join(folder, name), bytes);
  }
  await ask(node);
  const { state, problem, upcoming } = node.subscriber.status();
  assert.deepEqual([state, problem], ['pending', undefined]);
  assert.match(upcoming?.problem ?? '', /TRUST_TUF_WRONG_HASH/u);
  assert.equal(upcoming?.count, 0);
});

test('a preview whose archive does not arrive does not delay a newer release', async (t) => {
  const { fleet, node } = await waiting(t, [shop]);
  const held: { destroy(): void }[] = [];
  t.after(() => held.forEach((response) => response.destroy()));
  let hold = true;
  fleet.fault = ({ url }, response) => {
    if (!hold || url?.includes('/targets/') !== true) return false;
    held.push(response);
    return true;
  };
  await node.subscriber.poll();
  for (let left = 100; left > 0 && held.length === 0; left -= 1) await setTimeout(20);
  assert.equal(held.length, 1, 'the archive of the upcoming release is being fetched');
  hold = false;
  await fleet.publish(['r.test/shop/**', 'r.test/third/**']);
  await node.subscriber.poll();
  assert.equal(node.subscriber.status().release?.number, 3);
  assert.equal(node.subscriber.status().upcoming, undefined);
});
