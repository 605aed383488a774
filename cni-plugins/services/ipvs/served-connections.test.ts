import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { test } from 'node:test';
import { NETLINK_NETFILTER } from '../../../base/kernel/index.ts';
import { listConnections, openNetlink } from '../../../base/netlink/index.ts';
import { keyOf } from '../model/model.ts';
import type { VirtualServer } from '../model/model.ts';
import { shell } from '../switch/hosts.fixture.ts';
import { webServer } from '../virtual-server.fixture.ts';
import { createKnownServers } from './known-servers.ts';
import { openServiceLink } from './link.ts';
import { createServedConnections } from './served-connections.ts';

test('a cut of a node port ends no tracked connection to another service at the same port and backend', async () => {
  shell('ip addr add 10.5.0.1/32 dev lo; ip addr add 10.96.0.9/32 dev lo; ip route add 10.1.0.0/16 dev lo');
  // The connections began before the host balanced by IPVS.
  shell(
    "nft 'table ip t { chain o { type nat hook output priority -100; udp dport 30053 dnat to 10.1.0.2:53; }; }'",
  );
  const netfilter = openNetlink(NETLINK_NETFILTER);
  const link = openServiceLink();
  const known = createKnownServers();
  const other: VirtualServer = { ...webServer, protocol: 'udp', port: 30_053, address: '10.96.0.9' };
  known.set(other);
  const sender = createSocket('udp4');
  for (const address of ['10.5.0.1', '10.96.0.9']) sender.send('?', 30_053, address);
  const tracked = (): string[] =>
    listConnections(netfilter, 2, { protocol: 17, portTo: 30_053 }).map(({ to }) => [...to].join('.'));
  while (tracked().length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
  const kernel = { destinations: () => [], deleteDestination: () => undefined };
  const connections = createServedConnections({ kernel: kernel as never, link, netfilter, known });
  const { address: _, ...nodePort } = other;
  assert.equal(connections.cut(keyOf(nodePort), { address: '10.1.0.2', port: 53 }), 1);
  assert.deepEqual(tracked(), ['10.96.0.9']);
  sender.close();
  link.close();
  netfilter.close();
});
