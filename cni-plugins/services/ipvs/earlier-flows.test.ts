import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { becomeRouter, openHost } from '../switch/hosts.fixture.ts';
import type { TestHost } from '../switch/hosts.fixture.ts';
import { keyOf } from '../model/model.ts';
import type { VirtualServer } from '../model/model.ts';
import type { NetlinkSocket } from '../../../base/netlink/index.ts';
import { openIpvsBalancer } from './balancer.ts';
import type { IpvsBalancer } from './balancer.ts';
import { addWithoutEarlierFlows } from './earlier-flows.ts';
import { canBalanceByIpvs } from './settings.ts';
import { webServer } from '../virtual-server.fixture.ts';

const server: VirtualServer = {
  ...webServer,
  protocol: 'udp',
  port: 53,
  destinations: [{ address: '10.2.0.11', port: 8053, weight: 1 }],
};
const { address: _, ...rest } = server;
const nodePort: VirtualServer = { ...rest, kind: 'node', port: 30053, sourceAddress: 'masquerade' };

describe('on a kernel with IPVS', { skip: canBalanceByIpvs(), timeout: 240_000 }, () => {
  let balancer: IpvsBalancer;
  let client: TestHost;
  let backend: TestHost;
  before(async () => {
    becomeRouter();
    client = await openHost('client', 1, 2);
    backend = await openHost('b11', 2, 11);
    await backend.serve('udp', '0.0.0.0', 8053);
    balancer = openIpvsBalancer();
    balancer.reconcile([]);
  });
  after(async () => {
    balancer.removeAll();
    balancer.close();
    for (const host of [client, backend]) await host.stop();
  });

  for (const [flow, title, bring] of [
    [1, 'a change', () => balancer.change([server, nodePort], [])],
    [2, 'a comparison', () => balancer.reconcile([server, nodePort])],
  ] as const)
    test(`a UDP flow that began before its service is masqueraded where replies would not come back, after ${title}`, async () => {
      const hairpin = (): Promise<string> => backend.ask('10.96.0.1', 53, flow);
      const fromOutside = (): Promise<string> => client.ask('10.1.0.1', 30053, flow);
      assert.deepEqual(await Promise.all([hairpin(), fromOutside()]), ['TIMEOUT', 'TIMEOUT']);
      bring();
      assert.deepEqual(await Promise.all([hairpin(), fromOutside()]), ['b11 10.2.0.1', 'b11 10.2.0.1']);
      balancer.change([], [keyOf(server), keyOf(nodePort)]);
    });
});

test('a UDP service has no backend until the flows from before it are forgotten', () => {
  const calls: string[] = [];
  const netfilter: Pick<NetlinkSocket, 'dump'> = {
    dump: () => {
      calls.push('list the flows');
      return [];
    },
  };
  addWithoutEarlierFlows(
    {
      kernel: {
        put: ({ key }, destinations) => {
          calls.push(`add ${'port' in key ? key.port : 0} with ${destinations.length} backends`);
          return true;
        },
      },
      netfilter: netfilter as NetlinkSocket,
      link: { isOfHost: () => false },
    },
    [server, webServer],
  );
  assert.deepEqual(calls, ['add 53 with 0 backends', 'list the flows']);
});
