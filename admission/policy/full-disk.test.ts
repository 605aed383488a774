import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ApiClient } from '../../base/kubernetes/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { eventually } from '../../test/webhook/test-cluster.ts';
import { followPolicy } from './follow-policy.ts';

/** A cluster with one TrustPolicy of this many bytes, which records the statuses that are written. */
function clusterOf(bytes: number): { client: ApiClient; statuses: unknown[] } {
  const statuses: unknown[] = [];
  const metadata = { name: 'base', uid: 'u', generation: 1, resourceVersion: '1' };
  const policy = { metadata, rules: [{ images: ['**'], deny: 'x'.repeat(bytes) }] };
  const client: ApiClient = {
    get: () => Promise.reject(new Error('nothing is read')),
    list(path, _query, onItem) {
      if (path.endsWith('/trustpolicies')) onItem(policy);
      return Promise.resolve({ metadata: { resourceVersion: '1' } });
    },
    watch(_path, _query, _limits, onOpen, _onEvent, signal) {
      onOpen();
      return new Promise((resolve) => signal.addEventListener('abort', () => resolve()));
    },
    send({ body }) {
      statuses.push(body);
      return Promise.resolve({});
    },
    close: () => undefined,
  };
  return { client, statuses };
}

test('a replica whose disk is full does not write into the status that the policy is not in force', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-full-disk-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'none', folder]);
  const { client, statuses } = clusterOf(200_000);
  const policy = followPolicy({
    ...{ client, folder: join(folder, 'policy'), statusJitterMs: 0, log: createLogger({ level: 'silent' }) },
    load: () => Promise.reject(new Error('the documents are on the disk')),
  });
  t.after(async () => {
    await policy.close();
    execFileSync('umount', ['--lazy', folder]);
    rmSync(folder, { recursive: true });
  });
  await eventually(60_000, async () =>
    assert.match(await Promise.resolve(policy.problem() ?? ''), /disk is full/u),
  );
  // Closing waits for the statuses.
  await policy.close();
  assert.deepEqual(statuses, []);
});
