import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertNearLinear } from '../../test/fixtures/cost.ts';
import type { AuthConfig } from '../cri/contract/contract.types.ts';
import { pullCredentials } from './image-messages.ts';

const authOf = (plain: string): AuthConfig => ({
  ...{ username: '', password: '', serverAddress: '', identityToken: '', registryToken: '' },
  auth: Buffer.from(plain).toString('base64'),
});

test('credentials are read from `auth`, without the NUL bytes that some tools append', () => {
  assert.deepEqual(pullCredentials(authOf('user:pass')), { username: 'user', password: 'pass' });
  assert.deepEqual(pullCredentials(authOf('user:p:a\0ss\0\0\0')), { username: 'user', password: 'p:a\0ss' });
  assert.deepEqual(pullCredentials(authOf('user:\0\0')), { username: 'user' });
  assert.throws(() => pullCredentials(authOf(':pass')), /RUNTIME_BAD_AUTH/u);
});

test('the cost of credentials is proportional to their size, whatever they contain', async () => {
  const auths = new Map<number, AuthConfig>();
  await assertNearLinear(
    'NUL bytes before the last character of a password',
    (n) => {
      const auth = auths.get(n) ?? authOf(`user:${'\0'.repeat(n)}x`);
      auths.set(n, auth);
      return pullCredentials(auth);
    },
    { n: 10_000 },
  );
});
