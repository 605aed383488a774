import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createNodeAddresses } from './node-addresses.ts';
import type { NodeAddresses } from './node-addresses.ts';
import { createPodReader, readNode } from './objects.ts';

const node = (
  name: string,
  podCIDRs: readonly string[],
  addresses: readonly string[],
  { created = '2026-01-01T00:00:00Z', uid = name } = {},
): object => ({
  metadata: { name, uid, creationTimestamp: created },
  spec: { podCIDRs },
  status: { addresses: addresses.map((address) => ({ type: 'InternalIP', address })) },
});
const open = (...objects: readonly object[]): NodeAddresses => {
  const nodes = createNodeAddresses();
  for (const object of objects)
    nodes.put((object as { metadata: { name: string } }).metadata.name, readNode(object));
  nodes.settle();
  return nodes;
};
const read = createPodReader();
const admitted = (
  nodes: NodeAddresses,
  nodeName: string,
  ips: readonly string[],
  hostNetwork = false,
): readonly string[] => {
  const pod = read({
    metadata: { namespace: 'n', name: 'p', uid: 'u' },
    spec: { nodeName, hostNetwork },
    status: { podIPs: ips.map((ip) => ({ ip })) },
  });
  assert.ok(pod);
  return nodes.admitted(pod).addresses;
};
const a = node('a', ['10.1.0.0/24', 'fd00:1::/64'], ['192.0.2.1']);
const b = node('b', ['10.1.1.0/24', 'fd00:2::/64'], ['192.0.2.2']);

test('a pod has only addresses in the subnets of its own node', () => {
  const nodes = open(a, b);
  assert.deepEqual(admitted(nodes, 'a', ['10.1.0.9', 'fd00:1::9']), ['10.1.0.9', 'fd00:1::9']);
  assert.deepEqual(admitted(nodes, 'b', ['10.1.0.9', 'fd00:2::9']), ['fd00:2::9']);
  assert.deepEqual(admitted(nodes, 'b', ['203.0.113.7']), [], 'no address outside the cluster');
  assert.deepEqual(admitted(nodes, 'b', ['192.0.2.1', '192.0.2.2']), [], 'no address of a node');
});

test('a pod in the network of its node has only the addresses of this node', () => {
  const nodes = open(a, b);
  assert.deepEqual(admitted(nodes, 'b', ['192.0.2.2'], true), ['192.0.2.2']);
  assert.deepEqual(admitted(nodes, 'b', ['192.0.2.1', '10.1.0.9'], true), []);
});

test('if a node has no subnets, as with some CNI plugins, every address counts that does not belong to another node', () => {
  const nodes = open(node('a', [], ['192.0.2.1']), b);
  assert.deepEqual(admitted(nodes, 'a', ['172.16.0.1', '10.1.1.5', '192.0.2.2']), ['172.16.0.1']);
  assert.deepEqual(admitted(open(), 'a', ['10.1.0.9']), ['10.1.0.9']);
});

test('a newer node cannot take an address of an older node, whatever it writes into its own Node object', () => {
  const later = { created: '2026-02-01T00:00:00Z', uid: '0' };
  for (const claim of ['10.1.0.0/24', '10.1.0.128/25', '10.1.0.0/16']) {
    const nodes = open(node('thief', [claim], ['192.0.2.1'], later), a, b);
    assert.deepEqual(admitted(nodes, 'thief', ['10.1.0.129']), [], claim);
    assert.deepEqual(admitted(nodes, 'thief', ['192.0.2.1'], true), [], claim);
    assert.deepEqual(admitted(nodes, 'a', ['10.1.0.129']), ['10.1.0.129'], claim);
  }
});

test('a node cannot take the address of another node’s pod by listing it as its own', () => {
  const young = { created: '2026-02-01T00:00:00Z' };
  const addresses = ['192.0.2.3', '10.1.0.9', 'fd00:1::9'];
  const newer = open(a, b, node('thief', ['10.1.2.0/24'], addresses, young));
  for (const ip of ['10.1.0.9', 'fd00:1::9']) {
    assert.deepEqual(admitted(newer, 'thief', [ip], true), []);
    assert.deepEqual(admitted(newer, 'thief', [ip]), []);
    assert.deepEqual(admitted(newer, 'a', [ip]), [ip], 'it still belongs to the pod');
  }
  assert.deepEqual(admitted(newer, 'thief', ['192.0.2.3'], true), ['192.0.2.3']);
  // The subnet is newer than the address in it, so either of the two nodes may be the thief.
  const older = open(
    node('thief', ['10.1.2.0/24'], ['192.0.2.3', '10.1.0.9']),
    node('a', ['10.1.0.0/24'], ['192.0.2.1'], young),
  );
  assert.deepEqual(admitted(older, 'thief', ['10.1.0.9'], true), []);
  assert.deepEqual(admitted(older, 'a', ['10.1.0.9']), []);
  assert.deepEqual(admitted(older, 'a', ['10.1.0.8']), ['10.1.0.8']);
});
