import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileHeader, writeArtifactArchive } from './artifact-archive.ts';
import { createTarReader } from './unpack/tar-reader.ts';

type Entry = Parameters<Parameters<typeof createTarReader>[0]['begin']>[0];

test('a header is read back if the size is above 8 GiB and the name is too long for ustar', () => {
  const path = `models/${'ñ'.repeat(90)}.bin`;
  const size = 9 * 2 ** 30 + 1;
  const entries: Entry[] = [];
  const reader = createTarReader({
    begin: (entry) => void entries.push(entry),
    data: () => undefined,
    end: () => undefined,
  });
  reader.push(Buffer.from(fileHeader({ path, size })));
  assert.equal(entries.length, 1);
  assert.equal(Buffer.from(entries[0]?.name ?? '', 'latin1').toString(), path);
  assert.equal(entries[0]?.size, size);
});

test('the same files give the same archive, and a failure names the reason', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-archive-'));
  t.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'blob'), 'twelve bytes');
  const files = [{ path: 'a/b', blob: join(folder, 'blob'), size: 12 }];
  const { signal } = new AbortController();
  const first = await writeArtifactArchive(files, join(folder, 'one'), signal);
  assert.deepEqual(await writeArtifactArchive(files, join(folder, 'two'), signal), first);
  await assert.rejects(
    writeArtifactArchive(
      files.map((file) => ({ ...file, size: 13 })),
      join(folder, 'three'),
      signal,
    ),
    /does not have the 13 bytes/,
  );
  await assert.rejects(
    writeArtifactArchive(files, join(folder, 'four'), AbortSignal.abort(new Error('enough'))),
    /enough/,
  );
  assert.ok(!readdirSync(folder).includes('four'));
});
