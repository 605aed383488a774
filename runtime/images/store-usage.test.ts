import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { LayerRow } from './stored-image.ts';
import { createStoreUsage } from './store-usage.ts';

const rowOf = (folder: string): LayerRow =>
  ({
    ...{ folder, form: 'folder', bytes: 4096, inodes: 1, manifestSha256: folder },
    ...{ blobDigest: folder, blobSize: 4096 },
  }) as unknown as LayerRow;

describe('the usage of the image store', () => {
  it('is known although the disk cannot read one list of files', async () => {
    const layers = mkdtempSync(join(tmpdir(), 'portcullis-usage-'));
    try {
      for (const folder of ['whole', 'broken']) mkdirSync(join(layers, folder));
      writeFileSync(join(layers, 'whole/files.ndjson'), 'x');
      // Any error other than that of a missing file.
      symlinkSync('files.ndjson', join(layers, 'broken/files.ndjson'));
      const used = createStoreUsage({ layers }, { layers: () => ['whole', 'broken'].map(rowOf) });
      // For each layer its files, its folder and its blob, and one list.
      assert.deepEqual(await used(), { usedBytes: (3 + 3 + 1) * 4096, inodesUsed: 8 });
    } finally {
      rmSync(layers, { recursive: true });
    }
  });
});
