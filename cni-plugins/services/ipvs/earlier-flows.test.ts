import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { after, before, describe, test } from 'node:test';
import { becomeRouter, openHost, shell } from '../switch/hosts.fixture.ts';
import type { TestHost } from '../switch/hosts.fixture.ts';
import { keyOf } from '../model/model.ts';
import type { VirtualServer } from '../model/model.ts';
import type { NetlinkSocket } from '../../../base/netlink/index.ts';
import { NETLINK_NETFILTER } from '../../../base/kernel/index.ts';
import { listConnections, openNetlink } from '../../../base/netlink/index.ts';
import { openOwnAddresses } from '../source-ranges/own-address.ts';
import { ipvsBalancerOver, openIpvsBalancer } from './balancer.ts';
import type { IpvsBalancer } from './balancer.ts';
import { addWithoutEarlierFlows } from './earlier-flows.ts';
import type { IpvsKernel } from './kernel.ts';
import { openServiceLink } from './link.ts';
import { serviceId } from './plan.ts';
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

describe('of a UDP service that IPVS has without a backend', () => {
  const netfilter = openNetlink(NETLINK_NETFILTER);
  const link = openServiceLink();
  const own = openOwnAddresses();
  const sender = createSocket('udp4');
  const open = (kernel: IpvsKernel): IpvsBalancer =>
    ipvsBalancerOver({ own, kernel, link, netfilter, close: () => undefined });
  const earlierFlows = (): number =>
    listConnections(netfilter, 2, { protocol: 17 }).filter(({ portTo }) => portTo === nodePort.port).length;
  const sendToNodePort = (): Promise<void> =>
    new Promise((resolve) => sender.send('early', nodePort.port, '10.3.0.1', () => resolve()));
  before(() => {
    // A kernel without IPVS may also lack dummy links.
    shell('ip link set lo up; ip addr add 10.3.0.1/32 dev lo; ip link add portcullis-ipvs type bridge');
    // A rule with a state makes the kernel track connections, also without the tables of the balancer.
    shell(
      'nft "table ip tracking { chain input { type filter hook input priority 0; ct state new accept; }; }"',
    );
  });
  after(() => {
    for (const each of [netfilter, link, own, sender]) each.close();
  });

  const change = (balancer: IpvsBalancer): void => balancer.change([nodePort], []);
  for (const [title, fail, restart] of [
    ['a restart', change, true],
    ['a failed change', change, false],
    ['a failed comparison', (balancer: IpvsBalancer) => void balancer.reconcile([nodePort]), false],
  ] as const)
    test(`a comparison after ${title} forgets the earlier flows before it adds backends`, async () => {
      const flowsAtBackends: number[] = [];
      const kernel = memoryKernel((backends) => {
        if (backends === 0) throw new Error('interrupted');
        flowsAtBackends.push(earlierFlows());
      });
      const first = open(kernel);
      first.reconcile([]);
      await sendToNodePort();
      assert.throws(() => fail(first), /interrupted/u);
      assert.equal(earlierFlows(), 1);
      const next = restart ? open(kernel) : first;
      next.reconcile([nodePort]);
      assert.deepEqual(flowsAtBackends, [0]);
      next.change([], [keyOf(nodePort)]);
    });

  test('a change after a failed comparison forgets the earlier flows before it adds backends', async () => {
    const flowsAtBackends: number[] = [];
    const balancer = open(
      memoryKernel((backends) => {
        if (backends === 0) throw new Error('interrupted');
        flowsAtBackends.push(earlierFlows());
      }),
    );
    balancer.reconcile([]);
    await sendToNodePort();
    assert.throws(() => balancer.reconcile([nodePort]), /interrupted/u);
    change(balancer);
    assert.deepEqual(flowsAtBackends, [0]);
    balancer.change([], [keyOf(nodePort)]);
  });

  test('a comparison that recreates the tables forgets the flows that began without them', async () => {
    const flowsAtBackends: number[] = [];
    const balancer = open(memoryKernel((backends) => backends > 0 && flowsAtBackends.push(earlierFlows())));
    balancer.reconcile([nodePort]);
    shell('nft delete table ip portcullis-ipvs');
    await sendToNodePort();
    assert.equal(earlierFlows(), 1);
    balancer.reconcile([nodePort]);
    assert.deepEqual(flowsAtBackends, [0, 0]);
  });
});

/**
 * Returns an IPVS that balances nothing.
 * @param didPut called with the number of backends after each `put`
 */
function memoryKernel(didPut: (backends: number) => void): IpvsKernel {
  const services = new Map<string, ReturnType<IpvsKernel['services']>[number]>();
  return {
    services: () => [...services.values()],
    service: (key) => services.get(serviceId(key)),
    destinations: () => [],
    put(service, destinations) {
      services.set(serviceId(service.key), service);
      didPut(destinations.length);
      return true;
    },
    refuseNew: () => undefined,
    deleteService: (key) => void services.delete(serviceId(key)),
    deleteDestination: () => undefined,
  };
}
