import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createConnectionSlots } from './connection-slots.ts';
import type { ConnectionPlace } from './connection-slots.ts';
import { networkPeer } from './peer.ts';

test('a peer at its limit loses the connection that has waited longest, and is refused if none waits', () => {
  const slots = createConnectionSlots({ most: 100, mostOfPeer: 2 });
  const ended: string[] = [];
  const first = slots.admit('a', () => ended.push('first'));
  const second = slots.admit('a', () => ended.push('second'));
  assert.ok(slots.admit('a', () => ended.push('third')));
  assert.deepEqual(ended, ['first']);
  second?.busy();
  first?.leave();
  assert.deepEqual(slots.counts(), { open: 2, refused: 0, ended: 1 });
  const fourth = slots.admit('a', () => undefined);
  fourth?.busy();
  assert.deepEqual(ended, ['first', 'third']);
  assert.equal(
    slots.admit('a', () => undefined),
    undefined,
  );
  assert.ok(
    slots.admit('b', () => undefined),
    'another peer is not affected',
  );
  assert.deepEqual(slots.counts(), { open: 3, refused: 1, ended: 2 });
});

test('without a free slot, a connection without a request is closed first, of the largest peer', () => {
  const slots = createConnectionSlots({ most: 4, mostOfPeer: 4 });
  const ended: string[] = [];
  slots.admit('kubelet', () => ended.push('kubelet'))?.busy();
  for (const name of ['1', '2']) slots.admit('flood', () => ended.push(name));
  slots.admit('crictl', () => ended.push('crictl'));
  assert.ok(slots.admit('new', () => undefined));
  assert.deepEqual(ended, ['1']);
});

test('an idle connection is closed only in favour of a peer with fewer connections', () => {
  const slots = createConnectionSlots({ most: 4, mostOfPeer: 4 });
  const ended: string[] = [];
  const served = (peer: string, name: string): void => {
    const place = slots.admit(peer, () => ended.push(name));
    place?.busy();
    place?.idle();
  };
  served('kubelet', 'kubelet');
  for (const name of ['1', '2', '3']) served('flood', name);
  assert.ok(slots.admit('new', () => ended.push('new')));
  assert.deepEqual(
    ended,
    ['1'],
    'the connection that is idle for longest, of the peer with the most connections',
  );
  assert.ok(slots.admit('flood', () => undefined));
  assert.deepEqual(ended, ['1', '2'], 'a peer with more connections than a new peer gives up one of its own');
});

test('a connection that is being served is never closed', () => {
  const slots = createConnectionSlots({ most: 2, mostOfPeer: 2 });
  const ended: string[] = [];
  for (const name of ['1', '2']) slots.admit('a', () => ended.push(name))?.busy();
  assert.equal(
    slots.admit('b', () => undefined),
    undefined,
  );
  assert.deepEqual(ended, []);
});

test('a new peer gets a connection while any other connection waits, and the limits are never exceeded', () => {
  const act = fc.record({
    peer: fc.nat(5),
    what: fc.constantFrom('come', 'come', 'busy', 'idle', 'leave'),
    which: fc.nat(30),
  });
  fc.assert(
    fc.property(fc.array(act, { maxLength: 200 }), (acts) => {
      const limits = { most: 12, mostOfPeer: 6 };
      const slots = createConnectionSlots(limits);
      const open: {
        readonly peer: string;
        readonly place: () => ConnectionPlace | undefined;
        busy: boolean;
      }[] = [];
      const drop = (one: (typeof open)[number]): void => void open.splice(open.indexOf(one), 1);
      for (const { peer, what, which } of acts) {
        const known = open[which % Math.max(open.length, 1)];
        if (what === 'come') {
          const held: { place?: ConnectionPlace } = {};
          const one = { peer: String(peer), place: () => held.place, busy: false };
          const fewest = open.filter((each) => each.peer === one.peer).length === 0;
          const waiting = open.some((each) => !each.busy);
          const place = slots.admit(one.peer, () => {
            assert.equal(one.busy, false);
            drop(one);
          });
          if (place !== undefined) {
            held.place = place;
            open.push(one);
          } else
            assert.ok(!(fewest && waiting), 'a peer without connections was refused while others waited');
        } else if (known !== undefined) {
          if (what === 'busy') known.place()?.busy();
          if (what === 'idle') known.place()?.idle();
          if (what === 'leave') known.place()?.leave();
          if (what === 'leave') drop(known);
          else known.busy = what === 'busy';
        }
        assert.equal(slots.counts().open, open.length);
        assert.ok(open.length <= limits.most);
        for (const name of ['0', '1', '2', '3', '4', '5'])
          assert.ok(open.filter((each) => each.peer === name).length <= limits.mostOfPeer);
      }
    }),
  );
});

test('one host counts as one peer, in any spelling of its address', () => {
  for (const [address, peer] of [
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['2001:db8:0:1:aaaa::1', '2001:db8:0:1::/64'],
    ['2001:DB8::1:0:0:0:1', '2001:db8:0:1::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    [undefined, ''],
  ] as const)
    assert.equal(networkPeer(address), peer);
});
