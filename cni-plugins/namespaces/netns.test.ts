import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { kernelError } from '../../base/kernel/index.ts';
import { withPodNamespace } from './netns.ts';

const opening = (errno: string) => () => {
  const open = (): never => {
    throw kernelError(errno, 'open', '/run/netns/one');
  };
  withPodNamespace('/run/netns/one', { open }, () => assert.fail('it was not opened'));
};

test('a namespace that could not be checked does not count as gone', () => {
  assert.throws(opening('ENOENT'), { code: 'NETWORK_NETNS_MISSING' });
  for (const errno of ['EMFILE', 'ENFILE', 'ENOMEM'])
    assert.throws(opening(errno), { code: `KERNEL_${errno}` });
});

test('a FIFO in place of a namespace is refused without waiting for its writer', () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-netns-'));
  const fifo = join(folder, 'fifo');
  execFileSync('mkfifo', [fifo]);
  try {
    const enter = (): void => withPodNamespace(fifo, {}, () => assert.fail('it was opened'));
    assert.throws(enter, { code: 'NETWORK_NETNS_INVALID' });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
