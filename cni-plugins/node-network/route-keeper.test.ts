import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { parseIp, parsePrefix } from '../../base/addresses/index.ts';
import type { IpAddress, IpPrefix } from '../../base/addresses/index.ts';
import { openNodeKernel } from './kernel.ts';
import type { ClusterNode } from './nodes.ts';
import { createRouteKeeper } from './route-keeper.ts';

const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8' });
const address = (text: string): IpAddress => {
  const read = parseIp(text);
  assert.ok(read !== undefined);
  return read;
};
const prefix = (text: string): IpPrefix => {
  const read = parsePrefix(text);
  assert.ok(read !== undefined);
  return read;
};
const node = (name: string, subnet: string, at: string): ClusterNode => ({
  ...{ name, uid: name, created: '2026-01-01T00:00:00Z' },
  subnets: [subnet],
  addresses: [address(at)],
});

test('routes that the kernel refuses are not counted, and the others are made and logged', (t) => {
  ip('link', 'add', 'lan0', 'type', 'bridge');
  ip('address', 'add', '192.0.2.1/24', 'dev', 'lan0');
  ip('link', 'set', 'lan0', 'up');
  const kernel = openNodeKernel('pods0');
  t.after(() => {
    kernel.close();
    ip('link', 'delete', 'lan0');
  });
  const logged: unknown[] = [];
  const keeper = createRouteKeeper({
    settings: { nodeName: 'n1', routes: true },
    ranges: [prefix('10.244.0.0/16')],
    held: { current: [prefix('10.244.1.0/24')] },
    kernel,
    log: {
      info: (fields: object, message: string) => void logged.push(message, fields),
      warn: (_fields: object, message: string) => void logged.push(message),
    },
  });
  const given = new Map(
    [node('n2', '10.244.2.0/24', '192.0.2.2'), node('n3', '10.244.3.0/24', '203.0.113.3')].map(
      (each) => [each.name, each] as const,
    ),
  );
  const nodes = { all: () => given, came: () => true, revision: () => 1 };
  const lan = kernel.hostAddresses().find((each) => each.address.family === 4);
  assert.ok(lan !== undefined);
  // The second address has been removed since the addresses were listed.
  keeper.keep(nodes, [lan, { ...lan, address: address('203.0.113.1') }]);
  assert.match(ip('route'), /10\.244\.2\.0\/24 via 192\.0\.2\.2/u);
  assert.equal(keeper.count, 1);
  assert.deepEqual(logged, [
    'routes to other nodes were corrected',
    { found: ['the route to 10.244.2.0/24 was missing or different'], count: 1 },
    'the kernel refused routes to other nodes; retrying',
  ]);
});
