import assert from 'node:assert/strict';
import { subscribe } from 'node:diagnostics_channel';
import type { Server } from 'node:http';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../../../test/fixtures/free-port.ts';
import { openProxyHealth } from './proxy-health.ts';

/** A port that nothing listens on. */
test('a server that fails while it listens gives its port to the next one', async () => {
  const servers: Server[] = [];
  subscribe('tracing:net.server.listen:asyncStart', (message) => {
    servers.push((message as { readonly server: Server }).server);
  });
  const port = await freePort();
  servers.length = 0;
  const warnings: unknown[] = [];
  const health = openProxyHealth({
    ...{ address: '127.0.0.1', port, retryMs: 50 },
    isHealthy: () => true,
    isEligible: () => true,
    log: { warn: (fields) => void warnings.push(fields) },
  });
  const answers = async (): Promise<boolean> =>
    fetch(`http://127.0.0.1:${port}/healthz`).then(
      ({ status }) => status === 200,
      () => false,
    );
  const eventually = async (): Promise<void> => {
    for (const end = Date.now() + 60_000; !(await answers());) {
      assert.ok(Date.now() < end, 'it answers');
      await sleep(10);
    }
  };
  await eventually();
  const [first] = servers;
  assert.ok(first);
  first.emit('error', new Error('accept: too many open files'));
  for (const end = Date.now() + 60_000; servers.length < 2;) {
    assert.ok(Date.now() < end, 'another server listens');
    await sleep(10);
  }
  await eventually();
  await sleep(200);
  assert.equal(warnings.length, 1, 'the next one gets the port at once');
  assert.equal(first.listening, false);
  await health.close();
  assert.equal(await answers(), false);
});
