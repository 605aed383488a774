import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIp } from '../../base/addresses/index.ts';
import type { IpAddress } from '../../base/addresses/index.ts';
import { createServerHealth } from './server-health.ts';

const server = parseIp('192.0.2.1') as IpAddress;
const other = parseIp('192.0.2.2') as IpAddress;

test('failures of a server are counted until it answers', () => {
  const health = createServerHealth();
  assert.equal(health.of(server), undefined);
  health.failed(server);
  health.failed(server);
  assert.equal(health.of(server)?.failures, 2);
  assert.equal(health.of(other), undefined);
  health.answered(server);
  assert.equal(health.of(server), undefined);
});

test('a failure is forgotten a minute later', (context) => {
  const health = createServerHealth();
  let now = 1000;
  context.mock.method(performance, 'now', () => now);
  health.failed(server);
  now += 60_000;
  health.rest();
  assert.equal(health.of(server)?.failures, 1);
  now += 1;
  health.rest();
  assert.equal(health.of(server), undefined);
});
