import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import type { Socket } from 'node:dgram';
import { once } from 'node:events';
import { test } from 'node:test';
import { NETLINK_NETFILTER } from '../../kernel/index.ts';
import { forget, listConnections } from './connections.ts';
import { openNetlink } from '../protocol/socket.ts';

const bound = async (type: 'udp4' | 'udp6', address: string): Promise<Socket> => {
  const socket = createSocket(type);
  socket.bind(0, address);
  await once(socket, 'listening');
  return socket;
};
const said = async (from: Socket, to: number, address: string, other: Socket): Promise<void> => {
  from.send('x', to, address);
  await once(other, 'message');
};

for (const [type, loopback, family, table] of [
  ['udp4', '127.0.0.1', 2, 'ip'],
  ['udp6', '::1', 10, 'ip6'],
] as const)
  test(`connections are found by their original destination, with the answering address, and forgotten (${type})`, async () => {
    const server = await bound(type, loopback);
    const client = await bound(type, loopback);
    const netfilter = openNetlink(NETLINK_NETFILTER);
    try {
      const { port } = server.address();
      execFileSync('nft', [
        `add table ${table} t; add chain ${table} t out { type nat hook output priority -100; }; add rule ${table} t out udp dport 7 redirect to :${port}`,
      ]);
      await said(client, 7, loopback, server);
      await said(client, port, loopback, server);
      const to = Buffer.from(type === 'udp4' ? [127, 0, 0, 1] : [...Buffer.alloc(15), 1]);
      const [connection, ...others] = listConnections(netfilter, family, { protocol: 17, to, portTo: 7 });
      assert.ok(connection !== undefined && others.length === 0, 'the connection to port 7 alone');
      assert.equal(connection.answeringPort, port);
      for (const address of [connection.from, connection.to, connection.answeredBy])
        assert.deepEqual(address, to);
      assert.equal(
        listConnections(netfilter, family, { to: Buffer.from(to).reverse() }).length,
        0,
        'another address',
      );
      assert.equal(listConnections(netfilter, family, { to }).length, 2, 'whatever port');
      assert.equal(
        listConnections(netfilter, family, { protocol: 17, portTo: 7 }).length,
        1,
        'whatever address',
      );
      assert.equal(listConnections(netfilter, family, { protocol: 6, to }).length, 0, 'another protocol');
      forget(netfilter, family, [connection]);
      assert.equal(listConnections(netfilter, family, { to, portTo: 7 }).length, 0);
      assert.equal(
        listConnections(netfilter, family, { to, portTo: port }).length,
        1,
        'the other connection still exists',
      );
    } finally {
      netfilter.close();
      server.close();
      client.close();
    }
  });
