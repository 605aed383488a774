import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertNearLinearWork } from '../../../test/fixtures/cost.ts';
import { clusterGroup, createPeerIndex, groupDefinition, nameLabel } from './peer-index.ts';
import type { PeerIndex, PeerPod } from './peer-index.ts';

const pod = (namespace: string, address: string, labels: Record<string, string> = {}): PeerPod => ({
  ...{ namespace, labels, addresses: [address], namedPorts: [] },
});
const addressOf = (index: number): string => `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`;
const everyPod = [{ namespaces: [] }];
const open = (more: Partial<Parameters<typeof createPeerIndex>[0]> = {}): PeerIndex =>
  createPeerIndex({ absentIsBare: false, ...more });

test('a group is delivered as a whole first, and then one change at a time; a change that is undone is not delivered', () => {
  const index = open();
  index.putPod('a', pod('n', '10.0.0.1'));
  const group = groupDefinition('n', everyPod);
  index.addGroup(group);
  assert.deepEqual(index.take(), [{ key: group.key, whole: true, add: ['10.0.0.1'], remove: [] }]);
  index.putPod('b', pod('n', '10.0.0.2'));
  index.putPod('a', undefined);
  assert.deepEqual(index.take(), [{ key: group.key, add: ['10.0.0.2'], remove: ['10.0.0.1'] }]);
  index.putPod('c', pod('n', '10.0.0.3'));
  index.putPod('c', undefined);
  assert.deepEqual(index.take(), []);
  // It is wanted again by a reader that knows nothing.
  index.addGroup(group);
  assert.deepEqual(index.take(), [{ key: group.key, whole: true, add: ['10.0.0.2'], remove: [] }]);
  index.removeGroup(group.key);
  index.putPod('b', undefined);
  assert.deepEqual(index.take(), []);
});

test('an address that two pods have stays until both are gone', () => {
  const index = open();
  const group = groupDefinition('n', [{ pods: [] }]);
  index.addGroup(group);
  index.putPod('former', pod('n', '10.0.0.1'));
  index.putPod('next', pod('n', '10.0.0.1'));
  index.take();
  index.putPod('former', undefined);
  assert.deepEqual(index.take(), []);
  index.putPod('next', undefined);
  assert.deepEqual(index.take(), [{ key: group.key, add: [], remove: ['10.0.0.1'] }]);
});

test('a group beyond the limit of its namespace has no members and is reported; other namespaces keep theirs', () => {
  const index = open({ limits: { namespace: 10, all: 1000, cluster: 1000 } });
  const chosen = [{ namespaces: [], pods: [{ key: 'a', operator: 'Exists' as const, values: [] }] }];
  const [greedy, small, other] = [
    groupDefinition('greedy', everyPod),
    groupDefinition('greedy', chosen),
    groupDefinition('other', chosen),
  ];
  for (const group of [greedy, small, other]) index.addGroup(group);
  for (let at = 0; at < 20; at++) index.putPod(`p${at}`, pod('n', addressOf(at), at < 4 ? { a: '1' } : {}));
  const sizes = new Map(index.take().map(({ key, add }) => [key, add.length]));
  assert.deepEqual([sizes.get(greedy.key), sizes.get(small.key), sizes.get(other.key)], [0, 4, 4]);
  assert.equal(index.size().members, 8);
  const [problem, ...more] = index.problems();
  assert.match(problem ?? '', /namespace greedy select more pods/u);
  assert.deepEqual(more, []);
});

test('a group that was beyond its limit has its members again when it fits', () => {
  const index = open({ limits: { namespace: 10, all: 1000, cluster: 1000 } });
  const group = groupDefinition('n', everyPod);
  index.addGroup(group);
  for (let at = 0; at < 20; at++) index.putPod(`p${at}`, pod('n', addressOf(at)));
  assert.deepEqual(index.take(), [{ key: group.key, whole: true, add: [], remove: [], lacking: true }]);
  for (let at = 8; at < 20; at++) index.putPod(`p${at}`, undefined);
  const [change] = index.take();
  assert.equal(change?.lacking, undefined);
  assert.deepEqual(change?.add.toSorted(), Array.from({ length: 8 }, (_, at) => addressOf(at)).toSorted());
  assert.deepEqual(index.problems(), []);
});

test('a pod that comes and goes at the limit does not fill a group each time', () => {
  const index = open({ limits: { namespace: 10, all: 1000, cluster: 1000 } });
  index.addGroup(groupDefinition('n', everyPod));
  for (let at = 0; at < 11; at++) index.putPod(`p${at}`, pod('n', addressOf(at)));
  index.take();
  index.putPod('p10', undefined);
  assert.deepEqual(index.take(), []);
  index.putPod('p9', undefined);
  assert.equal(index.take()[0]?.add.length, 9);
});

test('a group of ClusterNetworkPolicies has its own limit, and may have nodes, but no pods in the network of a node', () => {
  const index = open({ limits: { namespace: 5, all: 5, cluster: 8 } });
  const group = clusterGroup([{ namespaces: [] }, { nodes: [{ key: 'a', operator: 'Exists', values: [] }] }]);
  index.addGroup(group);
  index.putPod('host', { ...pod('n', '10.0.9.1'), hostNetwork: true });
  index.putPod('node', { ...pod('', '10.0.9.2', { a: '1' }), isNode: true });
  index.putPod('other', { ...pod('', '10.0.9.3'), isNode: true });
  for (let at = 0; at < 7; at++) index.putPod(`p${at}`, pod('n', addressOf(at)));
  const [all] = index.take();
  assert.deepEqual([all?.add.length, all?.add.includes('10.0.9.2'), all?.lacking], [8, true, undefined]);
  index.putPod('p7', pod('n', addressOf(7)));
  const [overfull] = index.take();
  assert.deepEqual([overfull?.remove.length, overfull?.lacking], [8, true]);
});

test('namespaces that fill the total limit take no members from a smaller namespace', () => {
  const index = open({ limits: { namespace: 40, all: 100, cluster: 1000 } });
  const greedy = ['g1', 'g2', 'g3'].map((name) => groupDefinition(name, everyPod));
  const small = groupDefinition('small', [{ pods: [] }]);
  for (const group of greedy) index.addGroup(group);
  for (let at = 0; at < 33; at++) index.putPod(`p${at}`, pod('n', addressOf(at)));
  index.addGroup(small);
  // Pods whose addresses the others have already, so that only the small group grows beyond the limit.
  for (let at = 0; at < 4; at++) index.putPod(`s${at}`, pod('small', addressOf(at)));
  const sizes = new Map(index.take().map(({ key, add }) => [key, add.length]));
  assert.equal(sizes.get(small.key), 4);
  assert.equal(
    greedy.filter(({ key }) => sizes.get(key) === 0).length,
    1,
    'one of the largest namespaces has no members',
  );
});

test('labels of a namespace take effect when they are known; until then, none of them counts as absent', () => {
  const index = open();
  const group = groupDefinition('n', [
    { namespaces: [{ key: 'team', operator: 'DoesNotExist', values: [] }] },
  ]);
  index.addGroup(group);
  index.putPod('a', pod('new', '10.0.0.1'));
  assert.deepEqual(index.take(), [{ key: group.key, whole: true, add: [], remove: [] }]);
  index.putNamespace('new', {});
  assert.deepEqual(index.take(), [{ key: group.key, add: ['10.0.0.1'], remove: [] }]);
  index.putNamespace('new', { team: 'a' });
  assert.deepEqual(index.take(), [{ key: group.key, add: [], remove: ['10.0.0.1'] }]);
});

test('a pod whose namespace is not known yet is in the group of a rule that may deny it, and in no other', () => {
  const index = open();
  const ofTeam = { key: 'team', operator: 'In' as const, values: ['b'] };
  const peers = [{ namespaces: [ofTeam] }];
  const [accepted, denied] = [clusterGroup(peers), clusterGroup(peers, undefined, 'denied')];
  const byName = { key: nameLabel, operator: 'In' as const, values: ['other'] };
  const named = clusterGroup([{ namespaces: [byName, ofTeam] }], undefined, 'denied');
  for (const group of [accepted, denied, named]) index.addGroup(group);
  index.putPod('a', pod('new', '10.0.0.1'));
  index.putPod('b', pod('newer', '10.0.0.2'));
  const members = (): readonly string[][] => index.take().map(({ add, remove }) => [...add, '-', ...remove]);
  assert.deepEqual(members(), [['-'], ['10.0.0.1', '10.0.0.2', '-'], ['-']]);
  index.putNamespace('new', { team: 'a' });
  index.putNamespace('newer', { team: 'b' });
  assert.deepEqual(
    new Set(members()),
    new Set([
      ['-', '10.0.0.1'],
      ['10.0.0.2', '-'],
    ]),
  );
  assert.equal(
    clusterGroup([{ namespaces: [] }], undefined, 'denied').key,
    clusterGroup([{ namespaces: [] }]).key,
  );
});

test('a pod whose labels are not known is in the group of a rule that may deny it, and in no other', () => {
  const index = open();
  const web = [{ key: 'app', operator: 'In' as const, values: ['web'] }];
  const bare = [{ key: 'app', operator: 'DoesNotExist' as const, values: [] }];
  const elsewhere = [{ key: nameLabel, operator: 'In' as const, values: ['other'] }];
  const groups = [
    clusterGroup([{ pods: web, namespaces: [] }], undefined, 'denied'),
    clusterGroup([{ pods: web, namespaces: elsewhere }], undefined, 'denied'),
    clusterGroup([{ pods: web, namespaces: [] }]),
    clusterGroup([{ pods: bare, namespaces: [] }]),
    groupDefinition('new', [{ pods: bare }]),
  ];
  for (const group of groups) index.addGroup(group);
  index.putNamespace('new', {});
  index.putPod('a', { ...pod('new', '10.0.0.1'), labels: {}, labelsUnknown: true });
  const members = (): readonly string[][] => index.take().map(({ add, remove }) => [...add, '-', ...remove]);
  assert.deepEqual(members(), [['10.0.0.1', '-'], ['-'], ['-'], ['-'], ['-']]);
  index.putPod('a', { ...pod('new', '10.0.0.1'), labels: { app: 'api' } });
  assert.deepEqual(members(), [['-', '10.0.0.1']]);
});

test('a pod whose labels are not known is in the group of a rule that does not depend on labels of pods', () => {
  const index = open();
  const byName = [{ key: nameLabel, operator: 'In' as const, values: ['new'] }];
  const groups = [
    clusterGroup([{ namespaces: [] }], undefined, 'denied'),
    clusterGroup([{ namespaces: byName }], undefined, 'denied'),
    clusterGroup([{ pods: [], namespaces: byName }], undefined, 'denied'),
    groupDefinition('new', [{ pods: [] }]),
  ];
  for (const group of groups) index.addGroup(group);
  index.putNamespace('new', {});
  index.putPod('a', { ...pod('new', '10.0.0.1'), labels: {}, labelsUnknown: true });
  assert.deepEqual(
    index.take().map(({ add }) => add),
    [['10.0.0.1'], ['10.0.0.1'], ['10.0.0.1'], []],
  );
});

test('the cost is proportional to the pods, and to the groups', async () => {
  const filled = (pods: number, groups: number): PeerIndex => {
    const index = open();
    for (let at = 0; at < groups; at++)
      index.addGroup(
        groupDefinition(`n${at}`, [{ pods: [{ key: 'a', operator: 'In', values: [`${at}`] }] }]),
      );
    for (let at = 0; at < pods; at++) index.putPod(`p${at}`, pod(`n${at % 100}`, addressOf(at), { a: '1' }));
    return index;
  };
  await assertNearLinearWork('pods', (n) => () => filled(n, 100), { n: 2000 });
  await assertNearLinearWork('groups', (n) => () => filled(1000, n), { n: 200 });
});
