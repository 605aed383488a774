import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keyOf } from '../model/model.ts';
import { webServer } from '../virtual-server.fixture.ts';
import { createKnownServers } from './known-servers.ts';

const key = keyOf(webServer);

test('a server is known as it was last set until it is deleted', () => {
  const known = createKnownServers();
  known.set(webServer);
  known.set({ ...webServer, scheduler: 'sh' });
  assert.deepEqual([known.size, known.get(key)?.scheduler, [...known.servers()].length], [1, 'sh', 1]);
  known.delete(key);
  assert.deepEqual([known.size, known.get(key)], [0, undefined]);
});

test('of several servers, only the known servers are returned', () => {
  const known = createKnownServers();
  known.set(webServer);
  assert.deepEqual(known.of(['4 tcp 192.0.2.9 80', key]), [webServer]);
});

test('a server is restricted while it has source ranges', () => {
  const known = createKnownServers();
  const ranged = { ...webServer, sourceRanges: ['192.0.2.0/24'] };
  known.set(ranged);
  assert.deepEqual([...known.restricted], [key]);
  known.set(webServer);
  assert.deepEqual([...known.restricted], []);
  known.set(ranged);
  known.clear();
  assert.deepEqual([...known.restricted], []);
});
