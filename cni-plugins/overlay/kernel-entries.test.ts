import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createKernelEntries, holdClock } from './kernel-entries.ts';
import { createPeers } from './ownership/peers.ts';
import { encode, keysOf } from './records/records.ts';

test('a host is dropped after its hold time also if the timer fires too early', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const keys = keysOf('shop');
  const holdMs = 20;
  const peers = createPeers('host-1', keys, holdMs);
  const record = { id: 'id-2', underlay: '192.0.2.2', vxlan: { mac: '02:00:00:00:00:02', port: 4789 } };
  peers.list([{ key: keys.host('host-2'), value: encode({ ...record, mtu: 1450 }) }], holdClock());
  const entries = createKernelEntries({
    thisHost: { own: { subnets: [] } },
    peers,
    onChanged: () => undefined,
  } as unknown as Parameters<typeof createKernelEntries>[0]);
  const goneAt = holdClock();
  peers.change([{ key: keys.host('host-2'), value: undefined }], goneAt);
  entries.scheduleExpiry();
  // The event loop counts from the time at which it woke up, before a long call.
  t.mock.timers.tick(holdMs + 1);
  assert.notEqual(peers.nextExpiry(), undefined, 'still held');
  while (holdClock() < goneAt + holdMs);
  t.mock.timers.tick(holdMs + 1);
  assert.equal(peers.nextExpiry(), undefined);
  entries.close();
});
