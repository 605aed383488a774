import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { openStoreForTests, skip } from './store-for-tests.fixture.ts';
import type { Kit } from './test-kit.ts';

let kit: Kit;

openStoreForTests({
  opened: (opened) => void (kit = opened),
  current: () => kit,
});

const [orphan, stuck] = ['e'.repeat(64), 'd'.repeat(64)];

test("a store opens even if a container's folder is a file, and removes the file", { skip }, async () => {
  const files = ['rootfs', 'volumes'].map((name) => `${kit.root}/${name}/${orphan}`);
  for (const file of files) writeFileSync(file, '');
  kit = await kit.reopen();
  assert.deepEqual(await kit.store.reconcile(new Set()), []);
  assert.deepEqual(files.filter(existsSync), []);
});

for (const folder of ['rootfs', 'staging', 'layers'])
  test(
    `a leftover in ${folder} that cannot be removed is reported, and the others are removed`,
    { skip },
    async () => {
      const at = `${kit.root}/${folder}/${stuck}`;
      mkdirSync(at);
      execFileSync('mount', ['-t', 'tmpfs', 'none', at]);
      const others = ['rootfs', 'trash', 'staging', 'layers'].map((name) => `${kit.root}/${name}/${orphan}`);
      for (const other of others) mkdirSync(`${other}/fs`, { recursive: true });
      const files = ['ingest', 'blobs/sha256'].map((name) => `${kit.root}/${name}/${orphan}`);
      for (const file of files) writeFileSync(file, '');
      try {
        kit = await kit.reopen();
        const left = await kit.store.reconcile(new Set());
        assert.deepEqual(
          left.map(({ on }) => on),
          [at],
        );
        assert.match(left[0]?.why ?? '', /EBUSY/);
        // The trash is emptied in the background, until the store is closed.
        for (let waited = 0; others.some(existsSync) && waited < 60_000; waited += 20)
          await new Promise((resolve) => setTimeout(resolve, 20));
        assert.deepEqual([...others, ...files].filter(existsSync), []);
      } finally {
        execFileSync('umount', [at]);
      }
      assert.deepEqual(await kit.store.reconcile(new Set()), []);
      assert.equal(existsSync(at), false);
    },
  );
