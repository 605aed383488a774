import assert from 'node:assert/strict';
import { test } from 'node:test';
import { groupDefinition } from '../kubernetes/peer-index.ts';
import { createClusterTable } from './cluster-table.ts';
import type { ClusterTable } from './cluster-table.ts';
import { newerOf } from './saved-parts.ts';

const pod = (name: string, labels: object, nodeName: string, ip: string): object => ({
  metadata: { namespace: 'n', name, uid: name, labels },
  spec: { nodeName },
  status: { podIPs: [{ ip }] },
});
const list = (
  table: ClusterTable,
  collection: 'namespaces' | 'nodes' | 'pods' | 'policies',
  ...objects: object[]
): void => {
  table[collection].begin();
  for (const object of objects) table[collection].listed(object);
  table[collection].complete();
};
const node = (name: string, podCIDR: string): object => ({
  metadata: { name, uid: name, creationTimestamp: '2026-01-01T00:00:00Z' },
  spec: { podCIDR },
});

test('stored labels of own pods take precedence over the list of all pods, which is stored later', () => {
  const table = createClusterTable('here');
  list(
    table,
    'pods',
    pod('own', {}, 'here', '10.0.0.1'),
    pod('gone', {}, 'here', '10.0.0.2'),
    pod('far', {}, 'there', '10.0.1.1'),
  );
  const pods = table.saved('pods')?.value;
  list(
    table,
    'pods',
    pod('own', { quarantine: 'yes' }, 'here', '10.0.0.1'),
    pod('far', {}, 'there', '10.0.1.1'),
  );
  list(table, 'policies');
  const [own, policies] = [table.saved('own')?.value, table.saved('policies')?.value];
  assert.ok(pods && own && policies);
  const next = createClusterTable('here');
  next.load({ pods, own, policies });
  const described = new Map(next.take()?.pods);
  assert.deepEqual([...described.keys()], ['n/own']);
  assert.deepEqual(described.get('n/own')?.labels, { quarantine: 'yes' });
  assert.equal(next.figures().pods, 2);
});

test('a part is stored when its own list is complete, and own pods only when they change', () => {
  const table = createClusterTable('here');
  assert.equal(table.saved('policies'), undefined);
  list(table, 'policies');
  assert.notEqual(table.saved('policies'), undefined);
  assert.equal(table.saved('own'), undefined);
  list(table, 'pods', pod('own', {}, 'here', '10.0.0.1'));
  const before = table.saved('own')?.revision;
  table.pods.changed(pod('far', {}, 'there', '10.0.1.1'));
  table.pods.changed(pod('own', {}, 'here', '10.0.0.1'));
  assert.equal(table.saved('own')?.revision, before);
  table.pods.changed(pod('own', { a: 'b' }, 'here', '10.0.0.1'));
  assert.notEqual(table.saved('own')?.revision, before);
});

test('a pod is not a peer with an address that its node may not report, before and after the nodes arrive', () => {
  const group = groupDefinition('n', [{ pods: [] }]);
  const table = createClusterTable('here');
  table.want(group);
  list(table, 'pods', pod('real', {}, 'a', '10.1.0.5'), pod('forged', {}, 'b', '10.1.0.6'));
  assert.deepEqual(
    table.take()?.groups,
    [{ key: group.key, add: [], remove: [], whole: true, lacking: true }],
    'until the nodes are known, no address counts',
  );
  assert.deepEqual(table.figures().problems, []);
  list(table, 'nodes', node('a', '10.1.0.0/24'), node('b', '10.1.1.0/24'));
  assert.deepEqual(table.take()?.groups, [{ key: group.key, add: ['10.1.0.5'], remove: [], whole: true }]);
  assert.match(table.figures().problems[0] ?? '', /n\/forged reports an address/u);
  table.pods.changed(pod('forged', {}, 'b', '10.1.0.7'));
  assert.equal(table.take(), undefined);
  table.pods.changed(pod('forged', {}, 'b', '10.1.1.7'));
  assert.deepEqual(table.take()?.groups, [{ key: group.key, add: ['10.1.1.7'], remove: [] }]);
  assert.deepEqual(table.figures().problems, []);
});

test('addresses of pods count after a start with stored nodes, before a list arrives', () => {
  const before = createClusterTable('here');
  list(before, 'pods', pod('real', {}, 'a', '10.1.0.5'), pod('forged', {}, 'b', '10.1.0.6'));
  list(before, 'nodes', node('a', '10.1.0.0/24'), node('b', '10.1.1.0/24'));
  list(before, 'policies');
  const [pods, nodes, policies] = [before.saved('pods'), before.saved('nodes'), before.saved('policies')];
  assert.ok(pods && nodes && policies);
  const group = groupDefinition('n', [{ pods: [] }]);
  const table = createClusterTable('here');
  table.load({ pods: pods.value, nodes: nodes.value, policies: policies.value });
  table.want(group);
  assert.deepEqual(table.take()?.groups, [{ key: group.key, add: ['10.1.0.5'], remove: [], whole: true }]);
  const withoutNodes = createClusterTable('here');
  withoutNodes.load({ pods: pods.value, policies: policies.value });
  withoutNodes.want(group);
  assert.deepEqual(withoutNodes.take()?.groups, [
    { key: group.key, add: [], remove: [], whole: true, lacking: true },
  ]);
});

test('the stored version is the version of the stored objects', () => {
  const table = createClusterTable('here');
  list(table, 'policies');
  table.reached('networkpolicies', '41');
  assert.deepEqual(table.saved('policies')?.value.versions, { networkpolicies: '41' });
  assert.deepEqual(
    [newerOf('9', '10'), newerOf('10', '9'), newerOf(undefined, '3'), newerOf('x', '3')],
    ['10', '10', '3', 'x'],
  );
});

test('a pod that claims to be the mirror of a static pod of another namespace neither describes nor ends it', () => {
  const table = createClusterTable('here');
  const hash = '0123456789abcdef0123456789abcdef';
  const mirror = (namespace: string, name: string, labels: object, phase = 'Running'): object => ({
    metadata: {
      ...{ namespace, name, uid: `uid of ${name}`, labels },
      annotations: { 'kubernetes.io/config.mirror': hash },
    },
    spec: { nodeName: 'here' },
    status: { phase, podIPs: [{ ip: '10.0.0.1' }] },
  });
  list(table, 'nodes', node('here', '10.0.0.0/24'));
  list(table, 'policies');
  list(table, 'namespaces');
  list(table, 'pods', mirror('system', 'dns', { role: 'dns' }));
  const group = groupDefinition('system', [{ pods: [] }]);
  const own = { namespace: 'system', labels: { role: 'dns' }, addresses: ['10.0.0.9'], namedPorts: [] };
  table.begin({ groups: [group], pods: [['id', own, `system/${hash}`]], namespaces: [] });
  table.clusterPolicies.begin();
  table.clusterPolicies.complete();
  assert.deepEqual(table.take()?.groups[0]?.add.toSorted(), ['10.0.0.1', '10.0.0.9']);

  table.pods.changed(mirror('tenant', 'bad', { role: 'other' }));
  const described = table.take()?.pods;
  assert.deepEqual(
    described?.map(([identity, pod]) => [identity, pod?.labels]),
    [[`tenant/${hash}`, { role: 'other' }]],
  );
  table.pods.removed(mirror('tenant', 'bad', {}));
  assert.deepEqual(table.take()?.groups ?? [], []);
});

test('an address counts only for the pod that has it on this node, while the API lists a former pod with it', () => {
  const allowed = groupDefinition('n', [{ pods: [{ key: 'app', operator: 'In', values: ['allowed'] }] }]);
  const newPod = { namespace: 'n', labels: { app: 'other' }, addresses: ['10.0.0.7'], namedPorts: [] };
  const former = pod('former', { app: 'allowed' }, 'here', '10.0.0.7');
  const table = createClusterTable('here');
  const members = (): object | undefined => {
    const [change] = table.take()?.groups ?? [];
    return change && { add: change.add, remove: change.remove };
  };
  list(table, 'nodes', node('here', '10.0.0.0/24'));
  list(table, 'pods', former);
  table.begin({ groups: [allowed], pods: [], namespaces: [] });
  assert.deepEqual(members(), { add: ['10.0.0.7'], remove: [] });

  table.putPod('id', newPod, 'n/other');
  assert.deepEqual(members(), { add: [], remove: ['10.0.0.7'] });
  table.pods.changed(pod('former', { app: 'allowed', a: 'b' }, 'here', '10.0.0.7'));
  assert.equal(members(), undefined);

  table.putPod('id', undefined);
  assert.deepEqual(members(), { add: ['10.0.0.7'], remove: [] }, 'no other pod has it any more');
  table.putPod('same', { ...newPod, labels: { app: 'allowed' } }, 'n/former');
  assert.equal(members(), undefined, 'the pod itself');
  table.putPod('same', undefined);
  assert.equal(members(), undefined);
});

test('a pod of this node whose labels are not known yet has its address, and is no peer', () => {
  const of = (operator: 'In' | 'DoesNotExist', values: readonly string[]) =>
    groupDefinition('n', [{ pods: [{ key: 'app', operator, values }] }]);
  const table = createClusterTable('here');
  list(table, 'nodes', node('here', '10.0.0.0/24'));
  list(table, 'pods', pod('former', { app: 'allowed' }, 'here', '10.0.0.7'));
  table.begin({ groups: [of('In', ['allowed']), of('DoesNotExist', [])], pods: [], namespaces: [] });
  assert.deepEqual(
    table.take()?.groups.map(({ add }) => add),
    [['10.0.0.7'], []],
  );
  const early = { namespace: 'n', labels: {}, addresses: ['10.0.0.7'], namedPorts: [] };
  table.putPod('id', { ...early, labelsUnknown: true }, 'n/early');
  assert.deepEqual(
    table.take()?.groups.map(({ add, remove }) => [add, remove]),
    [[[], ['10.0.0.7']]],
  );
});

test('a pod with too many labels is reported, and the network thread learns that its labels are not known', () => {
  const table = createClusterTable('here');
  const labels = Object.fromEntries(Array.from({ length: 2000 }, (_, at) => [`l${at}`, '']));
  list(table, 'nodes', node('here', '10.0.0.0/24'));
  list(table, 'pods', pod('greedy', labels, 'here', '10.0.0.7'));
  const taken = table.take();
  assert.deepEqual(taken?.pods, [['n/greedy', { labels: {}, namedPorts: [], labelsUnknown: true }]]);
  assert.match(table.figures().problems.join('\n'), /the pod n\/greedy has more than 128 labels/u);
  table.pods.changed(pod('greedy', { app: 'one' }, 'here', '10.0.0.7'));
  assert.deepEqual(table.take()?.pods, [['n/greedy', { labels: { app: 'one' }, namedPorts: [] }]]);
  assert.deepEqual(table.figures().problems, []);
});
