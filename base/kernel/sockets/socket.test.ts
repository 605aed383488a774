import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { test } from 'node:test';
import {
  AF_NETLINK,
  AF_UNIX,
  MSG_DONTWAIT,
  NETLINK_EXT_ACK,
  NETLINK_ROUTE,
  SOCK_NONBLOCK,
  SOCK_RAW,
  SOCK_SEQPACKET,
  SOL_NETLINK,
  bindNetlink,
  closeFd,
  connectUnix,
  createEventFd,
  drainEventFd,
  peerCredentials,
  pollIn,
  recv,
  send,
  setSockOpt,
  shutdown,
  signalEventFd,
  socket,
} from '../index.ts';
import { checked } from '../ffi/errno.ts';
import { glibc } from '../ffi/libc.ts';
import { temporaryFolder } from '../temporary.fixture.ts';

test('a netlink socket answers a request', () => {
  const fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_ROUTE);
  try {
    bindNetlink(fd);
    setSockOpt(fd, SOL_NETLINK, NETLINK_EXT_ACK, 1);
    const buffer = Buffer.alloc(65536);
    assert.throws(() => recv(fd, buffer), { code: 'KERNEL_EAGAIN' });
    // nlmsghdr { len 32, RTM_GETLINK 18, NLM_F_REQUEST, seq 1, pid 0 } and ifinfomsg { index 1: lo }
    const request = Buffer.alloc(32);
    request.writeUInt32LE(32, 0);
    request.writeUInt16LE(18, 4);
    request.writeUInt16LE(1, 6);
    request.writeUInt32LE(1, 8);
    request.writeInt32LE(1, 20);
    assert.equal(send(fd, request), 32);
    assert.ok(pollIn(fd, 1000));
    const length = recv(fd, buffer, MSG_DONTWAIT);
    assert.equal(buffer.readUInt32LE(0), length);
    assert.equal(buffer.readUInt16LE(4), 16, 'RTM_NEWLINK');
    assert.ok(buffer.subarray(0, length).includes('lo\0'));
  } finally {
    closeFd(fd);
  }
});

test('SEQPACKET separates packets and reports the end, and a closed peer causes EPIPE, not a signal', (t) => {
  const path = `${temporaryFolder(t)}/attach`;
  const listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);
  const address = Buffer.concat([Buffer.from([AF_UNIX, 0]), Buffer.from(`${path}\0`)]);
  checked(glibc('bind', 'int', ['int', 'void *', 'uint'])(listener, address, address.length), 'bind', path);
  checked(glibc('listen', 'int', ['int', 'int'])(listener, 1), 'listen', path);
  const client = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);
  connectUnix(client, path);
  const server = checked(
    glibc('accept', 'int', ['int', 'void *', 'void *'])(listener, null, null),
    'accept',
    path,
  );
  const buffer = Buffer.alloc(100);

  assert.equal(pollIn(client, 0), false);
  send(server, Buffer.from('one'));
  send(server, Buffer.from('three'));
  assert.equal(pollIn(client, 0), true);
  assert.equal(recv(client, buffer), 3);
  assert.equal(recv(client, buffer), 5);
  assert.throws(() => recv(client, buffer), { code: 'KERNEL_EAGAIN' });
  assert.deepEqual(peerCredentials(client), { pid: process.pid, uid: 0, gid: 0 });

  send(client, Buffer.from('input'));
  shutdown(client);
  assert.equal(recv(server, buffer), 5);
  assert.equal(recv(server, buffer), 0);
  closeFd(server);
  assert.equal(recv(client, buffer), 0);
  assert.throws(() => send(client, buffer), { code: 'KERNEL_EPIPE' });
  closeFd(client);
  closeFd(listener);
});

test('a path that is too long for a unix socket is refused, not truncated', () => {
  const fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
  assert.throws(() => connectUnix(fd, `/tmp/${'x'.repeat(103)}`), { code: 'KERNEL_ENAMETOOLONG' });
  assert.throws(() => connectUnix(fd, '/tmp/portcullis-no-such-socket'), { code: 'KERNEL_ENOENT' });
  closeFd(fd);
});

test('the credentials of a client of a Node server are read', async (t) => {
  const path = `${temporaryFolder(t)}/socket`;
  const server = createServer().listen(path);
  await once(server, 'listening');
  const client = connect(path);
  const [accepted] = (await once(server, 'connection')) as [{ _handle: { fd: number }; destroy(): void }];
  assert.deepEqual(peerCredentials(accepted._handle.fd), { pid: process.pid, uid: 0, gid: 0 });
  client.destroy();
  accepted.destroy();
  server.close();
});

test('an eventfd counts and wakes', () => {
  const fd = createEventFd();
  assert.equal(drainEventFd(fd), 0n);
  assert.equal(pollIn(fd, 20), false);
  signalEventFd(fd);
  signalEventFd(fd);
  assert.equal(pollIn(fd, 0), true);
  assert.equal(drainEventFd(fd), 2n);
  closeFd(fd);
});
