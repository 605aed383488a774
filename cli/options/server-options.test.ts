import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PortcullisError } from '../../base/errors/index.ts';
import { serveUntilStopped } from './server-options.ts';

test('a service that cannot go on is closed, and its error ends the command', async (t) => {
  t.mock.method(process.stdout, 'write', () => true);
  const lost = new PortcullisError({
    code: 'STORAGE_WRITER_LOST',
    kind: 'internal',
    attempted: 'use database',
    on: 'trust.db',
    why: 'its writer failed',
    fix: 'restart the daemon',
  });
  let closed = 0;
  const service = {
    url: 'http://127.0.0.1:1',
    close: () => {
      closed += 1;
      return Promise.resolve();
    },
  };
  await assert.rejects(
    serveUntilStopped('json', (onLost) => {
      onLost(lost);
      return Promise.resolve(service);
    }),
    lost,
  );
  assert.equal(closed, 1);
});
