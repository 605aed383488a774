import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { CgroupMounts } from './cgroups.ts';
import { requireMemoryFits } from './memory-in-use.ts';

const path = '/p/c';
const code = { code: 'RUNTIME_LIMIT_IN_USE' };

describe('a memory limit of version 2', () => {
  let root = '';
  const write = (files: Readonly<Record<string, string>>): void => {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(root, path, name), `${text}\n`);
  };
  const check = (
    memoryLimitInBytes: number,
    more: Partial<Parameters<typeof requireMemoryFits>[2]> = {},
    version: CgroupMounts['version'] = 2,
  ): Promise<void> =>
    requireMemoryFits({ version, hybrid: false, roots: [root] }, path, {
      ...{ memoryLimitInBytes, memorySwapLimitInBytes: 0, unified: {} },
      ...more,
    });
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'portcullis-memory-in-use-'));
    mkdirSync(join(root, path), { recursive: true });
    write({
      'memory.max': '10000',
      'memory.current': '8000',
      'memory.stat':
        'anon 3000\nfile 5000\nshmem 1000\ninactive_file 2500\nactive_file 1500\nslab_reclaimable 500',
      'memory.swap.max': '0',
      'memory.swap.current': '0',
    });
  });
  afterEach(() => rmSync(root, { recursive: true }));

  it('is refused below the memory that the kernel cannot free', async () => {
    await assert.rejects(check(3499), code);
  });

  it('is accepted if the kernel can free enough memory of files', async () => {
    await check(3500);
  });

  it('is accepted if it does not fall', async () => {
    write({ 'memory.max': '2000' });
    await check(2000);
  });

  it('is refused if there was no limit before', async () => {
    write({ 'memory.max': 'max' });
    await assert.rejects(check(3000), code);
  });

  it('is refused if the swap of the host is too small, although its limit has room', async () => {
    write({ 'memory.current': '1000000000000000', 'memory.max': 'max', 'memory.swap.max': 'max' });
    await assert.rejects(check(3000), code);
  });

  it('is refused if only swap that the same request takes away had room', async () => {
    write({ 'memory.swap.max': 'max' });
    await assert.rejects(check(3000, { memorySwapLimitInBytes: 3000 }), code);
  });

  it('is also judged if a setting of version 2 names it', async () => {
    await assert.rejects(check(0, { unified: { 'memory.max': '3000' } }), code);
    await check(0, { unified: { 'memory.max': 'max' } });
  });

  it('is also judged if such a setting is zero, has a suffix or another base', async () => {
    for (const text of ['2K', '2k', '0x800', '0x2K', '04000', '0', ' 3000'])
      await assert.rejects(check(0, { unified: { 'memory.max': text } }), code, text);
    await check(0, { unified: { 'memory.max': '1M' } });
  });

  it('is not judged if the cgroup no longer exists', async () => {
    rmSync(join(root, path), { recursive: true });
    await check(1);
  });

  it('is not judged where the kernel refuses it itself', async () => {
    await check(1, {}, 1);
  });
});
