import assert from 'node:assert/strict';
import { test } from 'node:test';
import { groupDefinition } from '../kubernetes/peer-index.ts';
import type { GroupChange } from '../kubernetes/peer-index.ts';
import type { ClusterChanges } from './messages.ts';
import { createWorkerPeers } from './worker-peers.ts';

const group = groupDefinition('n', [{ pods: [] }]);
const changes = (groups: readonly GroupChange[], more: Partial<ClusterChanges> = {}): ClusterChanges => ({
  ...{
    whole: false,
    policies: [],
    clusterPolicies: [],
    namespaces: [],
    groups,
    dropped: [],
    pods: [],
    at: 0,
  },
  ...more,
});
const all = (...add: readonly string[]): GroupChange => ({ key: group.key, whole: true, add, remove: [] });

test('a group that was sent in advance is available at once when it is wanted', () => {
  const peers = createWorkerPeers(() => undefined);
  peers.take(changes([all('10.0.0.1')]));
  peers.take(changes([{ key: group.key, add: ['10.0.0.2'], remove: ['10.0.0.1'] }]));
  peers.want(group);
  assert.deepEqual(peers.take(), [all('10.0.0.2')]);
});

test('a group that was sent in advance and lacks members is not complete when it is wanted', () => {
  const peers = createWorkerPeers(() => undefined);
  peers.take(changes([{ ...all(), lacking: true }]));
  peers.want(group);
  assert.deepEqual(peers.take(), [{ ...all(), lacking: true }]);
  peers.drop(group.key);
  peers.take(changes([{ ...all(), lacking: true }]));
  peers.take(changes([all('10.0.0.1')]));
  peers.want(group);
  assert.deepEqual(peers.take(), [all('10.0.0.1')]);
});

test('when the Worker begins again, groups that it sent in advance are discarded', () => {
  const peers = createWorkerPeers(() => undefined);
  peers.take(changes([all('10.0.0.1')]));
  peers.take(changes([], { whole: true }));
  peers.want(group);
  assert.deepEqual(peers.take(), [], 'the members come from the Worker');
});
