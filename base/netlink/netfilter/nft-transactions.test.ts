import '../../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { NETLINK_NETFILTER } from '../../kernel/index.ts';
import { isRefusal } from '../protocol/kernel-failure.ts';
import { openNetlink } from '../protocol/socket.ts';
import { addElements, addSet, deleteElements, getElement } from './nft-sets.ts';
import { changesBy, generationOf, transact, transactAhead } from './nft-transactions.ts';
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

test('a transaction that runs ahead ends when it is waited for, and throws what the kernel refused', async (t) => {
  const [own, other] = [openNetlink(NETLINK_NETFILTER), openNetlink(NETLINK_NETFILTER)];
  t.after(() => [own, other].forEach((socket) => socket.close()));
  const table = { family: 'ip', name: 'ahead' } as const;
  const set = (name: string) => addSet(table, { name, key: ['ipv4_addr'] }, 1);
  transact(own, [addTable(table)]);
  const [generation, before] = [generationOf(own), changesBy(own)];
  transactAhead(own, [set('one')])();
  assert.equal(generationOf(own) - generation, 1);
  assert.equal(changesBy(own) - before, 1);
  const key = Buffer.from([10, 0, 0, 1]);
  const elements = Array.from({ length: 20_000 }, (_, at) => ({
    key: Buffer.from([10, 1, at >> 8, at & 255]),
  }));
  // Waited for at once, and after the other thread has ended.
  const ended = transactAhead(own, addElements(table, 'one', elements));
  ended();
  assert.notEqual(own.find(getElement(table, 'one', elements.at(-1) ?? { key })), undefined);
  const later = transactAhead(own, addElements(table, 'one', [{ key }]));
  await sleep(50);
  later();
  assert.notEqual(own.find(getElement(table, 'one', { key })), undefined);
  for (const wait of [0, 50]) {
    const refused = transactAhead(own, [set('two'), ...deleteElements(table, 'none', [{ key }])]);
    await sleep(wait);
    assert.throws(refused, (thrown) => isRefusal(thrown, 'ENOENT'));
  }
  assert.equal(changesBy(own) - before, 3);
  // The generation that the socket knows is over, so the kernel refuses the first attempt.
  transact(other, [addTable({ family: 'ip', name: 'other' })]);
  transactAhead(own, [set('three')])();
  assert.equal(changesBy(own) - before, 4);
  transactAhead(own, [])();
});

test('a transaction of many megabytes is one message', (t) => {
  const own = openNetlink(NETLINK_NETFILTER);
  t.after(() => own.close());
  const table = { family: 'ip', name: 'large' } as const;
  const elements = Array.from({ length: 2000 }, (_, at) => ({
    key: Buffer.from([10, 2, at >> 8, at & 255]),
  }));
  const same = addElements(table, 'one', elements);
  const bytes = same.reduce((sum, { body }) => sum + body.length, 0);
  const times = Math.ceil((40 * 1024 * 1024) / bytes);
  transact(own, [
    addTable(table),
    addSet(table, { name: 'one', key: ['ipv4_addr'] }, 1),
    ...Array.from({ length: times }, () => same).flat(),
  ]);
  assert.notEqual(own.find(getElement(table, 'one', elements.at(-1) ?? { key: Buffer.alloc(4) })), undefined);
});
