import assert from 'node:assert/strict';
import { test } from 'node:test';
import { kernelError } from '../../base/kernel/index.ts';
import { withPodNamespace } from './netns.ts';

const opening = (errno: string) => () => {
  const open = (): never => {
    throw kernelError(errno, 'open', '/run/netns/one');
  };
  withPodNamespace('/run/netns/one', { open }, () => assert.fail('it was not opened'));
};

test('a namespace that could not be looked at is not taken for one that is gone', () => {
  assert.throws(opening('ENOENT'), { code: 'NETWORK_NETNS_MISSING' });
  for (const errno of ['EMFILE', 'ENFILE', 'ENOMEM'])
    assert.throws(opening(errno), { code: `KERNEL_${errno}` });
});
