import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { flagsOfSources } from '../../test/fixtures/bundled-workers-flag.ts';

const run = promisify(execFile);

/**
 * Runs in its own mount namespace, on a disk that loses writes while its backing file has no room. A write of
 * content is lost, another program gets the error first, and only then the content is published; by then the
 * disk keeps all writes again. The kernel reports this failure as a full disk (ENOSPC of the file behind the
 * disk).
 */
const program = (folder: string): string => `
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { makeStoreFolders, storeFolders } from ${JSON.stringify(import.meta.resolve('./folders.ts'))};
import { publish } from ${JSON.stringify(import.meta.resolve('./publish.ts'))};
import { createSerialQueue } from ${JSON.stringify(import.meta.resolve('../../base/queues/index.ts'))};
import { openStoreSync } from ${JSON.stringify(import.meta.resolve('./store-sync.ts'))};
import { createLayerPool } from ${JSON.stringify(import.meta.resolve('./layer-workers/layer-pool.ts'))};
const folder = ${JSON.stringify(folder)};
const [backing, disk] = [folder + '/backing', folder + '/disk'];
for (const path of [backing, disk]) mkdirSync(path);
execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'none', backing]);
execFileSync('truncate', ['-s', '64m', backing + '/image']);
// Without a journal: a lost write of a journal would make the whole file system read-only.
execFileSync('mkfs.ext4', ['-q', '-F', '-O', '^has_journal', '-E', 'lazy_itable_init=0', backing + '/image']);
execFileSync('mount', ['-o', 'loop,errors=continue', backing + '/image', disk]);
const folders = storeFolders(disk + '/images');
await makeStoreFolders(folders);
const pool = createLayerPool({ size: 1 });
const sync = await openStoreSync(folders.root, pool);
const codeOf = (promise) => promise.then(() => 'ok', (error) => error.code);
const parts = {
  folders, pool, sync, publishing: createSerialQueue(),
  layers: { withdrawing: () => undefined },
  places: { vacate: async () => undefined, tidy: async () => undefined },
  log: { warn: () => undefined },
};
const staged = (name) => {
  const from = folders.staging + '/' + name;
  mkdirSync(from);
  const move = { kind: 'rename', from, to: folders.layers + '/' + name };
  return { begun: sync.era(), pendingMove: () => move, published: () => undefined, write: () => writeFileSync(from + '/data', Buffer.alloc(4_000_000, 'x')) };
};
const lost = staged('lost');
const beside = staged('beside');
execFileSync('sync', ['-f', disk]);
try { writeFileSync(backing + '/filler', Buffer.alloc(64_000_000)); } catch {}
lost.write();
let heard = false;
try { execFileSync('sync', ['-f', disk], { stdio: 'ignore' }); } catch { heard = true; }
rmSync(backing + '/filler');
beside.write();
const codes = [await codeOf(publish(parts, [lost])), await codeOf(publish(parts, [beside]))];
const after = staged('after');
after.write();
codes.push(await codeOf(publish(parts, [after])));
const placed = ['lost', 'beside', 'after'].filter((name) => existsSync(folders.layers + '/' + name));
await sync.close();
await pool.close();
process.stdout.write(JSON.stringify({ heard, codes, placed }));
`;

test('a lost write is detected even if another program received the error first, and fails all content in progress', async () => {
  const folder = mkdtempSync('/var/tmp/portcullis-sync-');
  try {
    const { stdout } = await run(
      'unshare',
      [
        '-m',
        '--propagation',
        'private',
        process.execPath,
        ...flagsOfSources(),
        '--input-type=module-typescript',
        '-e',
        program(folder),
      ],
      { timeout: 60_000 },
    );
    assert.deepEqual(JSON.parse(stdout), {
      heard: true,
      codes: ['IMAGES_DISK_FULL', 'IMAGES_NOT_DURABLE', 'ok'],
      placed: ['after'],
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
