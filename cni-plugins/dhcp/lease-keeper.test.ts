import assert from 'node:assert/strict';
import { uptime } from 'node:os';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { resumeClient, tick } from './client.ts';
import type { HeldLease } from './client.ts';
import { createLeaseKeeper, systemClock } from './lease-keeper.ts';
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
  ...{ seconds: 120, renewAfter: 60, rebindAfter: 105, obtainedAt: systemClock().now - 200_000 },
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

test('a lease that ended while the host was suspended is lost within 30 s', (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  let now = 1_000_000;
  const lost: string[] = [];
  const keeper = createLeaseKeeper({
    open: () => ({ send: () => undefined, close: () => undefined }),
    apply: (key, lease) => void (lease === undefined && lost.push(key)),
    log: { info: () => undefined, warn: () => undefined },
    clock: () => ({ now, random: 0.5 }),
  });
  const lease = { ...ended, seconds: 7200, renewAfter: 3600, rebindAfter: 6300, obtainedAt: now };
  keeper.resume('pod/bridge', subject, lease);
  // Timers do not run while the host is suspended, and their remaining time does not shrink.
  now += 10_000_000;
  context.mock.timers.tick(29_000);
  assert.deepEqual(lost, []);
  context.mock.timers.tick(1_000);
  assert.deepEqual(lost, ['pod/bridge']);
  keeper.close();
});

test('the clock of leases counts the time since the boot, as the kernel counts it with suspensions', () => {
  const [before, { now }, after] = [uptime() * 1000, systemClock(), uptime() * 1000];
  assert.ok(before <= now && now <= after);
});

test('a daemon that starts after the clock was set forward keeps the leases of the former one', async (context) => {
  const kept: HeldLease = { ...ended, seconds: 7200, renewAfter: 3600, rebindAfter: 6300 };
  const lease = { ...kept, obtainedAt: systemClock().now };
  const later = Date.now() + 365 * 86_400_000;
  context.mock.method(Date, 'now', () => later);
  const next = (await import(new URL('lease-keeper.ts?next', import.meta.url).href)) as {
    readonly systemClock: typeof systemClock;
  };
  const moment = next.systemClock();
  const step = tick(resumeClient(lease, moment), subject.identity, moment);
  assert.deepEqual([step.outcome, step.state.phase], [undefined, 'bound']);
});
