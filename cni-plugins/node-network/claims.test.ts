import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePrefix } from '../../base/addresses/index.ts';
import { assertNearLinearWork } from '../../test/fixtures/cost.ts';
import type { IpPrefix } from '../../base/addresses/index.ts';
import { readClaims } from './claims.ts';
import { readNode } from './nodes.ts';
import type { ClusterNode } from './nodes.ts';
import { planRoutes } from './routes.ts';
import { prefixText, readRanges } from './settings.ts';

const prefix = (text: string): IpPrefix => {
  const read = parsePrefix(text);
  assert.ok(read);
  return read;
};
const ranges = ['10.244.0.0/16', 'fd00:10:244::/48'].map(prefix);
const held = ['10.244.0.0/24', 'fd00:10:244::/64'].map(prefix);
const rules = { ranges, held, wanted: [], nodeName: 'own' };

/** A Node object as the API sends it. @param age a greater one is older */
const node = (
  name: string,
  podCIDRs: unknown,
  { age = 1, addresses = [] as readonly unknown[], uid = name } = {},
): ClusterNode => {
  const creationTimestamp = `2026-01-01T00:00:${String(60 - age).padStart(2, '0')}Z`;
  const read = readNode({
    metadata: { name, uid, creationTimestamp },
    spec: { podCIDRs },
    status: { addresses: addresses.map((address) => ({ type: 'InternalIP', address })) },
  });
  assert.ok(read);
  return read;
};

const accepted = (...nodes: readonly ClusterNode[]): Record<string, readonly string[]> =>
  Object.fromEntries(
    [...readClaims(nodes, rules).subnets].map(([name, subnets]) => [name, subnets.map(prefixText)]),
  );

test('a node gets the subnets that the cluster assigned to it, one of each family', () => {
  assert.deepEqual(accepted(node('a', ['10.244.1.0/24', 'fd00:10:244:1::/64'])), {
    a: ['10.244.1.0/24', 'fd00:10:244:1::/64'],
  });
});

test('a node gets nothing else', () => {
  const cases: Readonly<Record<string, unknown>> = {
    '10.244.0.0/24': /overlaps a subnet of the node own/u,
    '10.244.0.128/25': /overlaps a subnet of the node own/u,
    '10.244.0.0/16': /overlaps a subnet of the node own/u,
    '10.244.2.0/23': /larger than a \/24/u,
    '10.96.0.0/24': /not in network.pods.ranges/u,
    '10.0.0.0/8': /not in network.pods.ranges/u,
    '0.0.0.0/0': /not in network.pods.ranges/u,
    '192.168.100.1/32': /not in network.pods.ranges/u,
    '::/0': /not in network.pods.ranges/u,
    'fd00:10:244:1::/63': /bits beyond its prefix length/u,
    'fd00:10:244:2::/63': /larger than a \/64/u,
    '10.244.1.7/24': /bits beyond its prefix length/u,
    '10.244.1.0/31': /no room/u,
    '10.244.1.0': /not a prefix/u,
    'not a subnet': /not a prefix/u,
    '10.244.1.0/24; ip route add default': /not a prefix/u,
  };
  for (const [text, why] of Object.entries(cases)) {
    const { subnets, refused } = readClaims([node('hostile', [text])], rules);
    assert.deepEqual([...subnets], [], text);
    assert.match(refused[0]?.why ?? '', why as RegExp, text);
  }
});

test('values of other types count as absent, and a long list is cut', () => {
  for (const value of [7, {}, null, 'x', [7], [{}], [null]])
    assert.deepEqual(readClaims([node('odd', value)], rules), { subnets: new Map(), refused: [] });
  const many = Array.from({ length: 10_000 }, (_, index) => `10.244.${index % 256}.0/24`);
  assert.equal(node('many', many).subnets.length, 2);
  assert.equal(readNode({}), undefined);
  assert.equal(readNode(undefined), undefined);
});

test('of two subnets of one family, the first is used', () => {
  const { subnets, refused } = readClaims([node('two', ['10.244.1.0/24', '10.244.2.0/24'])], rules);
  assert.deepEqual(subnets.get('two')?.map(prefixText), ['10.244.1.0/24']);
  assert.match(refused[0]?.why ?? '', /second subnet of its family/u);
});

test('a subnet belongs to the older node, in whatever order the nodes arrive', () => {
  const [old, young] = [node('z', ['10.244.1.0/24'], { age: 9 }), node('a', ['10.244.1.128/25'], { age: 3 })];
  for (const nodes of [
    [old, young],
    [young, old],
  ])
    assert.deepEqual(accepted(...nodes), { z: ['10.244.1.0/24'] });
});

test('between two nodes that were created in the same second, the UID from the API server decides', () => {
  const nodes = [node('a', ['10.244.1.0/24'], { uid: '9' }), node('z', ['10.244.1.0/24'], { uid: '1' })];
  assert.deepEqual(accepted(...nodes), { z: ['10.244.1.0/24'] });
});

test('a subnet that this node has belongs to it, even if another node is older', () => {
  assert.deepEqual(
    accepted(node('older', ['10.244.0.0/24'], { age: 50 }), node('own', ['10.244.0.0/24'])),
    {},
  );
  const { refused } = readClaims([node('own', ['10.244.0.0/24', 'fd00:10:244::/64'])], rules);
  assert.deepEqual(refused, [], 'its own Node object is no conflict');
});

test('a node without a subnet cannot get the subnet of an older node', () => {
  const wanted = [prefix('10.244.5.0/24')];
  const nodes = [node('older', ['10.244.5.0/24'], { age: 9 }), node('own', ['10.244.5.0/24'])];
  const { refused } = readClaims(nodes, { ...rules, held: [], wanted });
  assert.deepEqual(
    refused.map(({ node: name }) => name),
    ['own'],
  );
});

test('twice the nodes cost about twice the time', async () => {
  const nodesOf = (count: number): ClusterNode[] =>
    Array.from({ length: count }, (_, index) =>
      node(`n${index}`, [
        `10.${128 + (index >> 8)}.${index & 255}.0/24`,
        `fd00:10:244:${(index + 1).toString(16)}::/64`,
      ]),
    );
  const wide = {
    ...rules,
    ranges: [prefix('10.128.0.0/9'), prefix('fd00:10:244::/48')],
    held: [],
    wanted: held,
  };
  await assertNearLinearWork(
    'the claims of nodes',
    (count) => {
      const nodes = nodesOf(count);
      return () => assert.equal(readClaims(nodes, wide).subnets.size, count);
    },
    { n: 2000 },
  );
});

const host = [
  { linkIndex: 2, address: prefix('192.168.100.11/24').address, length: 24 },
  { linkIndex: 2, address: prefix('fd00:100::11/64').address, length: 64 },
  { linkIndex: 2, address: prefix('fe80::1/64').address, length: 64 },
  { linkIndex: 3, address: prefix('203.0.113.9/32').address, length: 32 },
];

function routesOf(...nodes: readonly ClusterNode[]): {
  readonly routes: readonly string[];
  readonly refused: readonly string[];
} {
  const byName = new Map(nodes.map((each) => [each.name, each]));
  const { routes, refused } = planRoutes(byName, readClaims(nodes, rules), { nodeName: 'own', ranges, host });
  return {
    routes: [...routes].map(([subnet, { gateway, linkIndex }]) =>
      [subnet, prefixText({ address: gateway, length: 0 }).replace('/0', ''), linkIndex].join(' '),
    ),
    refused: refused.map(({ node: name, what, why }) => `${name} ${what} ${why}`),
  };
}

test('the gateway of a route is the InternalIP of the node, in each family', () => {
  const addresses = ['192.168.100.12', 'fd00:100::12'];
  assert.deepEqual(routesOf(node('a', ['10.244.1.0/24', 'fd00:10:244:1::/64'], { addresses })), {
    routes: ['10.244.1.0/24 192.168.100.12 2', 'fd00:10:244:1::/64 fd00:100::12 2'],
    refused: [],
  });
});

test('an address that is not another host on a network segment of this node is not used as a gateway', () => {
  const cases: Readonly<Record<string, RegExp>> = {
    '192.168.100.11': /an address of this node/u,
    '10.244.0.9': /in network.pods.ranges/u,
    '203.0.113.10': /not on a network segment/u,
    '203.0.113.9': /an address of this node/u,
    '127.0.0.1': /not the address of a host/u,
    '0.0.0.0': /not the address of a host/u,
    '224.0.0.1': /not the address of a host/u,
    '255.255.255.255': /not the address of a host/u,
    '169.254.169.254': /not the address of a host/u,
    'fd00:100::12': /no IPv4 InternalIP/u,
    'not an address': /no IPv4 InternalIP/u,
  };
  for (const [address, why] of Object.entries(cases)) {
    const { routes, refused } = routesOf(node('a', ['10.244.1.0/24'], { addresses: [address] }));
    assert.deepEqual(routes, [], address);
    assert.match(refused[0] ?? '', why, address);
  }
  for (const address of ['fe80::12', '::1', '::', 'ff02::1', '::ffff:192.168.100.12'])
    assert.deepEqual(
      routesOf(node('a', ['fd00:10:244:1::/64'], { addresses: [address] })).routes,
      [],
      address,
    );
});

test('of several addresses, the first valid address is the gateway', () => {
  const addresses = ['203.0.113.10', '192.168.100.12', '192.168.100.13'];
  assert.deepEqual(routesOf(node('a', ['10.244.1.0/24'], { addresses })).routes, [
    '10.244.1.0/24 192.168.100.12 2',
  ]);
});

test('ranges that are not prefixes are refused', () => {
  for (const text of ['10.244.0.0', '10.244.0.1/16', '0.0.0.0/0', '::/3', 'x'])
    assert.throws(() => readRanges({ ranges: [text] }), /NODE_NETWORK_SETTINGS_INVALID/u, text);
});
