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

test('a group that came in advance is there at once when it is wanted', () => {
  const peers = createWorkerPeers(() => undefined);
  peers.take(changes([all('10.0.0.1')]));
  peers.take(changes([{ key: group.key, add: ['10.0.0.2'], remove: ['10.0.0.1'] }]));
  peers.want(group);
  assert.deepEqual(peers.take(), [all('10.0.0.2')]);
});

test('a Worker that begins again takes back what came in advance before', () => {
  const peers = createWorkerPeers(() => undefined);
  peers.take(changes([all('10.0.0.1')]));
  peers.take(changes([], { whole: true }));
  peers.want(group);
  assert.deepEqual(peers.take(), [], 'the members come from the Worker');
});
