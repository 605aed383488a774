import assert from 'node:assert/strict';
import { test } from 'node:test';
import { closeFd } from '../files/files.ts';
import { openDatagramBatch } from './datagram-batch.ts';
import { bindUdp, connectUdp, sockaddr } from './inet-socket.ts';
import { pollIn, recv, send } from './socket.ts';

const loopback = { 4: Buffer.of(127, 0, 0, 1), 6: Buffer.from(`${'00'.repeat(15)}01`, 'hex') } as const;
const port = 20_000 + (process.pid % 20_000);

for (const family of [4, 6] as const) {
  test(`datagrams over IPv${family} are received and answered in batches`, () => {
    const end = { address: loopback[family], port };
    const server = bindUdp(end, 1 << 20);
    const clients = [connectUdp(end, 1 << 20), connectUdp(end, 1 << 20)] as const;
    try {
      const batch = openDatagramBatch(server, 4, 100);
      assert.equal(
        batch.receive(() => assert.fail('nothing has come')),
        0,
      );
      for (let index = 0; index < 6; index += 1)
        send(clients[index % 2 === 0 ? 0 : 1], Buffer.from(`question ${index}`));
      send(clients[0], Buffer.alloc(150, 'x'));
      const heard: string[] = [];
      const ports = new Set<number>();
      const take = (): number =>
        batch.receive((message, { address, port: from, name }) => {
          heard.push(message.toString());
          ports.add(from);
          assert.deepEqual(Buffer.from(address), loopback[family]);
          assert.deepEqual(Buffer.from(name), sockaddr({ address, port: from }));
          batch.add(Buffer.from(`answer to ${message.toString().slice(0, 20)}`), name);
        });
      assert.deepEqual([take(), take(), take()], [4, 3, 0]);
      assert.deepEqual(heard, [...[0, 1, 2, 3, 4, 5].map((index) => `question ${index}`), 'x'.repeat(100)]);
      assert.equal(ports.size, 2);
      batch.flush();
      const buffer = Buffer.alloc(200);
      const answers = [0, 0, 0, 0, 1, 1, 1].map((client) => {
        assert.ok(pollIn(clients[client] ?? -1, 1000));
        return buffer.toString('latin1', 0, recv(clients[client] ?? -1, buffer));
      });
      assert.deepEqual(
        answers,
        ['0', '2', '4', 'x'.repeat(20), '1', '3', '5'].map(
          (each) => `answer to ${each.length === 1 ? 'question ' : ''}${each}`,
        ),
      );
      assert.throws(() => batch.add(Buffer.alloc(101), sockaddr(end)), { code: 'KERNEL_EMSGSIZE' });
    } finally {
      clients.forEach(closeFd);
      closeFd(server);
    }
  });
}

test('a datagram that cannot be sent does not delay the others', () => {
  const end = { address: loopback[4], port };
  const server = bindUdp(end, 1 << 20);
  const client = connectUdp(end, 1 << 20);
  try {
    const batch = openDatagramBatch(server, 8, 100);
    send(client, Buffer.from('x'));
    assert.ok(pollIn(server, 1000));
    batch.receive((message, { name }) => {
      // Port 0 is not valid: the kernel refuses it.
      batch.add(message, sockaddr({ address: Buffer.of(127, 0, 0, 1), port: 0 }));
      batch.add(Buffer.from('second'), name);
    });
    batch.flush();
    assert.ok(pollIn(client, 1000));
    const buffer = Buffer.alloc(10);
    assert.equal(buffer.toString('latin1', 0, recv(client, buffer)), 'second');
    closeFd(server);
    assert.throws(() => openDatagramBatch(server, 1, 10).receive(() => undefined), { code: 'KERNEL_EBADF' });
  } finally {
    closeFd(client);
  }
});
