import assert from 'node:assert/strict';
import { networkInterfaces } from 'node:os';
import { test } from 'node:test';
import {
  AF_NETLINK,
  NETLINK_ROUTE,
  SOCK_RAW,
  closeFd,
  linkFlagsOf,
  linkIndexOf,
  linkMacOf,
  linkNameOf,
  socket,
} from '../index.ts';

const [up, loopback, running] = [0x1, 0x8, 0x40];

const withSocket = (body: (fd: number) => void): void => {
  const fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
  try {
    body(fd);
  } finally {
    closeFd(fd);
  }
};

test('index, name, flags and address of a link are read over a netlink socket', () => {
  withSocket((fd) => {
    assert.equal(linkIndexOf(fd, 'lo'), 1);
    assert.equal(linkNameOf(fd, 1), 'lo');
    const flags = linkFlagsOf(fd, 'lo') ?? 0;
    assert.equal(flags & loopback, loopback);
    for (const [name, [first]] of Object.entries(networkInterfaces()).map(
      ([name, all]) => [name, all ?? []] as const,
    )) {
      assert.equal(linkMacOf(fd, name)?.toString('hex'), first?.mac.replaceAll(':', ''), name);
      assert.equal((linkFlagsOf(fd, name) ?? 0) & (up | running), up | running, name);
      assert.equal(linkNameOf(fd, linkIndexOf(fd, name) ?? 0), name);
    }
  });
});

test('an answer is not changed by the next answer', () => {
  withSocket((fd) => {
    const mac = linkMacOf(fd, 'lo');
    const before = mac?.toString('hex');
    linkIndexOf(fd, 'lo');
    assert.equal(mac?.toString('hex'), before);
  });
});

test('every query for a missing link returns undefined', () => {
  withSocket((fd) => {
    assert.equal(linkIndexOf(fd, 'portcullis-no'), undefined);
    assert.equal(linkFlagsOf(fd, 'portcullis-no'), undefined);
    assert.equal(linkMacOf(fd, 'portcullis-no'), undefined);
    assert.equal(linkNameOf(fd, 0x7fff_fffe), undefined);
    for (const name of ['', 'longer-than-any-link']) assert.equal(linkIndexOf(fd, name), undefined);
  });
});

test('a name with a NUL byte and a closed descriptor are refused', () => {
  withSocket((fd) => {
    assert.throws(() => linkIndexOf(fd, 'lo\0x'), { code: 'KERNEL_EINVAL' });
  });
  assert.throws(() => linkFlagsOf(-1, 'lo'), { code: 'KERNEL_EBADF' });
});
