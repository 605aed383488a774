import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { NETLINK_ROUTE } from '../../kernel/index.ts';
import { removeLink } from './link-removal.ts';
import { lookUp } from './links.ts';
import { openNetlink } from '../protocol/socket.ts';

const shell = (command: string): string => execFileSync('sh', ['-c', command], { encoding: 'utf8' });
const route = openNetlink(NETLINK_ROUTE);
const open = (): typeof route => openNetlink(NETLINK_ROUTE);
const indexOf = (name: string): number => lookUp(route, { name })?.index ?? assert.fail(`no link ${name}`);

test('after a removal, neither the link nor its other end is listed, and its name is free', async () => {
  shell('ip link add br0 type bridge; ip link set br0 up');
  // More than are removed in other threads at once.
  for (let round = 0; round < 6; round += 1) {
    shell(
      'ip link add one type veth peer name two; ip link set one master br0; ip link set one up; ip link set two up',
    );
    removeLink(route, indexOf('one'), open);
    assert.deepEqual(
      [lookUp(route, { name: 'one' }), lookUp(route, { name: 'two' })],
      [undefined, undefined],
    );
    assert.doesNotMatch(shell('ip -o link'), /one|two/u);
  }
  // A request in another thread must not affect a later link.
  shell('ip link add one type veth peer name two');
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.notEqual(lookUp(route, { name: 'one' }), undefined);
});

test('a missing link is not an error, a link that cannot be removed is', () => {
  const index = indexOf('br0');
  removeLink(route, index, open);
  removeLink(route, index, open);
  assert.throws(() => removeLink(route, indexOf('lo'), open), { code: 'NETWORK_KERNEL_EOPNOTSUPP' });
});
