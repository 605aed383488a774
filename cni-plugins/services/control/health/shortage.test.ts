import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { holdDescriptors } from '../../../../base/process/descriptors.fixture.ts';
import type { HealthCheck } from '../../model/model.ts';
import { notRun, probe } from './probe.ts';

const common = { intervalSeconds: 1, timeoutSeconds: 30, failures: 1, successes: 1 };
const checks: readonly HealthCheck[] = [
  { ...common, kind: 'tcp' },
  { ...common, kind: 'http', path: '/', status: [] },
  { ...common, kind: 'exec', command: ['/bin/true'] },
];

// In a separate file, because another test could free a descriptor while all are in use.
for (const check of checks)
  test(`${check.kind}: a check without a free descriptor says nothing about the backend`, async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const backend = { address: '127.0.0.1', port: (server.address() as AddressInfo).port };
    const descriptors = holdDescriptors();
    try {
      descriptors.fill();
      assert.equal(await probe(check, backend), notRun);
    } finally {
      descriptors.release();
      server.close();
    }
  });
