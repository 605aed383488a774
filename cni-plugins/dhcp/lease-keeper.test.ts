import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { HeldLease } from './client.ts';
import { createLeaseKeeper } from './lease-keeper.ts';
import { clientIdOf } from './requests.ts';

const subject = {
  identity: {
    mac: Buffer.from('020000000001', 'hex'),
    clientId: clientIdOf('pod', 'net', 'eth0'),
    requested: [],
    provided: new Map<number, Buffer>(),
  },
  name: 'net/pod/eth0',
};
const ended: HeldLease = {
  ...{ address: '10.0.0.9', length: 24, server: '10.0.0.1', serverMac: '02:00:00:00:00:fe' },
  ...{ routes: [], nameservers: [], search: [] },
  ...{ seconds: 120, renewAfter: 60, rebindAfter: 105, obtainedAt: 1000 },
};

test('leases that ended are lost at once, also when no more sockets may be open', async () => {
  const lost: string[] = [];
  let open = 0;
  const keeper = createLeaseKeeper({
    open() {
      open += 1;
      return { send: () => undefined, close: () => void (open -= 1) };
    },
    apply: (key, lease) => void (lease === undefined && lost.push(key)),
    log: { info: () => undefined, warn: () => undefined },
  });
  // Timers of the keeper do not keep the process alive.
  const keys = Array.from({ length: 200 }, (_, at) => `${at}/bridge`);
  for (const key of keys) keeper.resume(key, subject, ended);
  await pause(500);
  assert.deepEqual(lost, keys);
  assert.equal(open, 64);
  keeper.close();
  assert.equal(open, 0);
});
