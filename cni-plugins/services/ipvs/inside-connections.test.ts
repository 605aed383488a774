import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { becomeRouter, openHost, shell } from '../switch/hosts.fixture.ts';
import type { TestHost } from '../switch/hosts.fixture.ts';
import type { Destination, VirtualServer } from '../model/model.ts';
import { openIpvsBalancer } from './balancer.ts';
import type { IpvsBalancer } from './balancer.ts';
import { canBalanceByIpvs } from './settings.ts';
import { webServer } from '../virtual-server.fixture.ts';

const here = { address: '10.2.0.11', port: 8080, weight: 1 };
const elsewhere = { address: '10.2.0.12', port: 8080, weight: 0, insideWeight: 1 };

const server = (...destinations: readonly Destination[]): VirtualServer => ({
  ...webServer,
  kind: 'external',
  address: '192.0.2.8',
  insideSources: ['10.2.0.0/24'],
  destinations,
});
const { address: _, ...rest } = server();
const nodePort = (...destinations: readonly Destination[]): VirtualServer => ({
  ...rest,
  kind: 'node',
  port: 30080,
  destinations,
});

describe('on a kernel with IPVS', { skip: canBalanceByIpvs(), timeout: 240_000 }, () => {
  let balancer: IpvsBalancer;
  let client: TestHost;
  const backends: TestHost[] = [];
  before(async () => {
    becomeRouter();
    shell('ip route add 192.0.2.0/24 dev lo');
    for (const number of [11, 12]) {
      const backend = await openHost(`b${number}`, 2, number);
      await backend.serve('tcp', '::', 8080);
      backends.push(backend);
    }
    client = await openHost('inside', 2, 13);
    balancer = openIpvsBalancer();
  });
  after(async () => {
    balancer.removeAll();
    balancer.close();
    for (const host of [client, ...backends]) await host.stop();
  });

  /** Returns a connection to the endpoint of this node. */
  async function connected(address: string, port: number): Promise<number> {
    for (let at = 0; at < 10; at += 1) {
      const { greeting, id } = await client.stream(address, port);
      if (greeting.startsWith('b11 ')) return id;
      await client.end(id);
    }
    throw new Error(`no connection to ${address} reaches b11`);
  }

  async function flows(id: number): Promise<void> {
    const early = (await client.report(id))?.received ?? 0;
    let now = await client.report(id);
    for (let at = 0; at < 300 && (now?.received ?? 0) < early + 2048 && !now?.failure; at += 1) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      now = await client.report(id);
    }
    assert.equal(now?.failure, undefined);
    assert.ok((now?.received ?? 0) >= early + 2048, JSON.stringify(now));
  }

  for (const [what, end] of [
    ['the last endpoint of another node goes', here],
    ['the endpoints drain', { ...here, weight: 0 }],
  ] as const)
    test(`established connections from inside the node go on when ${what}`, async () => {
      balancer.reconcile([server(here, elsewhere), nodePort(here, elsewhere)]);
      const streams = [await connected('192.0.2.8', 80), await connected('10.2.0.1', 30080)];
      balancer.change([server(end), nodePort(end)], []);
      for (const id of streams) await flows(id);
      balancer.reconcile([server(end), nodePort(end)]);
      for (const id of streams) await flows(id);
      for (const id of streams) await client.end(id);
    });
});
