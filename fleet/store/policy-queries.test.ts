import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { policyRevision } from '../../trust/policy/index.ts';
import { goodState, temporaryFolder } from '../fleet.fixture.ts';
import { createIntake } from '../intake/intake.ts';
import type { Intake } from '../intake/intake.ts';
import { eventNames } from '../records/record-names.ts';
import type { NodeState } from '../records/state.ts';
import { listRefused, listRevisions, listUpcoming, textOfPolicy } from './policy-queries.ts';
import { openFleetStore } from './store.ts';
import type { FleetStore } from './store.ts';

let clock = 1_800_000_000_000;

async function openFleet(t: TestContext): Promise<{ readonly store: FleetStore; readonly intake: Intake }> {
  const store = await openFleetStore(await temporaryFolder(t));
  t.after(() => store.close());
  return { store, intake: createIntake(store, { now: () => (clock += 1000), pinnedKey: () => undefined }) };
}

const policyOf = (text: string) => {
  const sources = { files: [{ name: 'policy.yaml', text }], keys: [] };
  return { revision: policyRevision(sources), ...sources };
};

async function send(
  intake: Intake,
  node: string,
  policy: object | undefined,
  state: Partial<NodeState> = {},
): Promise<void> {
  const event = (name: string, body: object) => ({
    ...{ event: name, time: 0, attributes: new Map() },
    body: JSON.stringify(body),
  });
  const { rejected, message } = await intake.receive(node, [
    {
      attributes: new Map(),
      records: [
        ...(policy === undefined ? [] : [event(eventNames.policy, policy)]),
        event(eventNames.state, { ...goodState, ...state }),
      ],
    },
  ]);
  assert.equal(rejected, 0, message);
}

test('revisions in force come first, then earlier revisions whose sources are stored', async (t) => {
  const { store, intake } = await openFleet(t);
  const [first, second] = [policyOf('one'), policyOf('two')];
  for (const node of ['a', 'b']) await send(intake, node, first, { policy: { revision: first.revision } });
  for (const node of ['a', 'b']) await send(intake, node, second, { policy: { revision: second.revision } });
  await send(intake, 'c', undefined, { policy: { revision: `sha256:${'c'.repeat(64)}` } });
  const found = await listRevisions(store.database);
  assert.deepEqual(
    found.map(({ revision, inForce, received }) => [revision, inForce, received !== undefined]),
    [
      [second.revision, 2, true],
      [`sha256:${'c'.repeat(64)}`, 1, false],
      [first.revision, 0, true],
    ],
  );
  const { files, keys } = first;
  assert.equal(await textOfPolicy(store.database, first.revision), JSON.stringify({ files, keys }));
});

test('the latest policies of each node are kept, and do not displace the policies of another node', async (t) => {
  const { store, intake } = await openFleet(t);
  const kept = policyOf('of b');
  await send(intake, 'b', kept);
  const sent = Array.from({ length: 30 }, (_, index) => policyOf(`number ${index}`));
  for (const policy of sent) await send(intake, 'a', policy);
  const revisions = (await listRevisions(store.database))
    .filter(({ received }) => received !== undefined)
    .map(({ revision }) => revision);
  assert.deepEqual(
    new Set(revisions),
    new Set([kept.revision, ...sent.slice(10).map(({ revision }) => revision)]),
  );
  await store.forget('a');
  assert.deepEqual(
    (await listRevisions(store.database)).flatMap(({ revision, received }) =>
      received === undefined ? [] : [revision],
    ),
    [kept.revision],
  );
  assert.equal(await textOfPolicy(store.database, sent.at(-1)?.revision ?? ''), undefined);
});

test('policies that came while the clock was ahead do not displace the policies that came later', async (t) => {
  const { store, intake } = await openFleet(t);
  const year = 365 * 86_400_000;
  clock += year;
  for (let index = 0; index < 20; index += 1) await send(intake, 'a', policyOf(`ahead ${index}`));
  clock -= year;
  const later = [policyOf('first'), policyOf('second')];
  for (const policy of later) await send(intake, 'a', policy);
  for (const { revision } of later) assert.ok(await textOfPolicy(store.database, revision), revision);
});

test('releases that are not in force are counted by nodes, with the workloads that they would refuse', async (t) => {
  const { store, intake } = await openFleet(t);
  const lost = (reference: string) => ({
    ...{ namespace: 'shop', reference, outcome: 'deny' as const, rule: 'policy.yaml:4' },
  });
  const revision = `sha256:${'2'.repeat(64)}`;
  const upcoming = { release: 'stable/2', revision };
  await send(intake, 'a', undefined, {
    upcoming: { ...upcoming, denials: [lost('r/x'), lost('r/y')], count: 2 },
  });
  await send(intake, 'b', undefined, { upcoming: { ...upcoming, denials: [lost('r/y')], count: 1 } });
  await send(intake, 'c', undefined, { upcoming: { ...upcoming, denials: [], count: 0 } });
  await send(intake, 'd', undefined, {
    upcoming: { release: 'stable/2', denials: [], count: 0, problem: 'no archive' },
  });
  await send(intake, 'e', undefined);
  assert.deepEqual(await listUpcoming(store.database), [
    { release: 'stable/2', revision, nodes: 4, refusing: 2, failed: 1, problem: 'no archive' },
  ]);
  const denials = await listRefused(store.database, 'stable/2', 10);
  assert.deepEqual(
    denials.map(({ reference, nodes }) => [reference, nodes]),
    [
      ['r/y', 2],
      ['r/x', 1],
    ],
  );
  await send(intake, 'a', undefined);
  assert.equal((await listUpcoming(store.database))[0]?.refusing, 1, 'the newest state counts');
});

test('one node cannot change the revision that a release has on most nodes', async (t) => {
  const { store, intake } = await openFleet(t);
  const revision = `sha256:${'2'.repeat(64)}`;
  for (const name of ['a', 'b'])
    await send(intake, name, undefined, {
      upcoming: { release: 'stable/2', revision, denials: [], count: 0 },
    });
  await send(intake, 'c', undefined, {
    upcoming: { release: 'stable/2', revision: `sha256:${'f'.repeat(64)}`, denials: [], count: 0 },
  });
  assert.deepEqual(
    (await listUpcoming(store.database)).map((one) => [one.revision, one.nodes]),
    [[revision, 3]],
  );
});
