import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createHttpServer } from '../../../base/connections/index.ts';
import { inPrivateNetns, shell } from '../../engine/engine.fixture.ts';
import { openHealthChecks } from './health-checks.ts';

if (inPrivateNetns(import.meta.filename)) {
  shell('ip link set lo up');
  const checks = openHealthChecks({ warn: () => undefined });
  after(() => checks.close());

  async function freePort(): Promise<number> {
    const server = createHttpServer(() => undefined).listen(0);
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }

  test('a load balancer gets the number of the family of the address at which it asks', async () => {
    const port = await freePort();
    const ask = async (host: string): Promise<string> => {
      for (;;)
        try {
          const answer = await fetch(`http://${host}:${port}/`);
          return `${answer.status} ${answer.headers.get('x-load-balancing-endpoint-weight') ?? ''}`;
        } catch {
          await sleep(20);
        }
    };
    const check = { port, namespace: 'shop', name: 'web' };
    const both = new Map([
      [4, 0],
      [6, 2],
    ] as const);
    checks.serve([{ ...check, localEndpoints: both }]);
    assert.deepEqual([await ask('127.0.0.1'), await ask('[::1]')], ['503 0', '200 2']);
    checks.serve([{ ...check, localEndpoints: new Map([[4, 1]] as const) }]);
    assert.deepEqual([await ask('127.0.0.1'), await ask('[::1]')], ['200 1', '200 1']);
  });
}
