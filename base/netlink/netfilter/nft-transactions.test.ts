import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NETLINK_NETFILTER } from '../../kernel/index.ts';
import { openNetlink } from '../protocol/socket.ts';
import { changesBy, generationOf, transact } from './nft-transactions.ts';
import { addTable } from './nftables.ts';

test('a transaction that changes nothing counts neither as a change of the socket nor of the generation', (t) => {
  const [own, other] = [openNetlink(NETLINK_NETFILTER), openNetlink(NETLINK_NETFILTER)];
  t.after(() => [own, other].forEach((socket) => socket.close()));
  const table = (name: string) => [addTable({ family: 'ip', name })];
  const first = generationOf(own);
  transact(own, table('one'));
  transact(own, table('one'));
  assert.equal(generationOf(own) - first, 1);
  assert.equal(changesBy(own), 1);
  transact(other, table('two'));
  assert.equal(generationOf(own) - first, 2);
  assert.equal(changesBy(own), 1, 'the change of another program is not counted');
  // The generation that the socket knows is over, so the kernel refuses the first attempt.
  transact(own, table('three'));
  assert.equal(generationOf(own) - first, 3);
  assert.equal(changesBy(own), 2);
});
