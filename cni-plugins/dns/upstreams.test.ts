import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatIp } from '../../base/addresses/index.ts';
import { inOrder, isDown, nameserversIn } from './upstreams.ts';
import type { Health } from './upstreams.ts';

test('the name servers of a resolv.conf are read', () => {
  const text =
    '# generated\nsearch example.com\n nameserver 192.0.2.1\nnameserver\t2001:db8::1\nnameserver fe80::1%eth0\nnameserver\noptions ndots:5\n';
  assert.deepEqual(nameserversIn(text).map(formatIp), ['192.0.2.1', '2001:db8::1']);
  assert.deepEqual(nameserversIn(''), []);
});

test('a server that is down is asked last until it may have recovered', () => {
  const health: Readonly<Record<string, Health>> = {
    a: { failures: 3, failedAt: 1000 },
    b: { failures: 2, failedAt: 1000 },
  };
  const at = (now: number): string => inOrder(['a', 'b', 'c'], (server) => health[server], now).join('');
  assert.equal(at(2000), 'bca');
  assert.equal(at(11_000), 'abc');
  assert.equal(inOrder(['a'], () => health['a'], 2000).join(''), 'a');
  assert.ok(isDown(health['a'], 2000) && !isDown(health['b'], 2000) && !isDown(undefined, 0));
});
