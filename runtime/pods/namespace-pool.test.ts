import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Kernel } from '../../base/kernel/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { openNamespacePool } from './namespace-pool.ts';

const dir = mkdtempSync(join(tmpdir(), 'portcullis-pool-'));
after(() => rmSync(dir, { recursive: true, force: true }));

test('a set that a lost Worker had begun to pin is unpinned', async () => {
  const begun: string[] = [];
  const kernel = {
    pinNamespaces: (input: { readonly dir: string }) => {
      begun.push(input.dir);
      mkdirSync(input.dir);
      writeFileSync(join(input.dir, 'net'), '');
      return Promise.reject(new Error('the Worker has ended'));
    },
    unpinNamespaces: (set: string) => Promise.resolve(rmSync(set, { recursive: true })),
  } as unknown as Kernel;
  const startProgram = () => Promise.reject(new Error('unused'));
  const pool = await openNamespacePool({
    dir,
    size: 0,
    kernel,
    startProgram,
    log: createLogger({ level: 'silent' }),
  });
  await assert.rejects(pool.claim({ hostname: 'pod', sysctls: {} }), /the Worker has ended/);
  assert.deepEqual([begun.length, begun.some((set) => existsSync(set))], [1, false]);
  await pool.close();
});
