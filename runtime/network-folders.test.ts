import '../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs, { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createLogger } from '../base/log/index.ts';
import { mountDeadServer, noDeadServer } from '../test/fixtures/dead-server.ts';
import type { DeadServer } from '../test/fixtures/dead-server.ts';
import { followNetworkFolders } from './network-folders.ts';

const noDescriptor = (): Promise<never> =>
  Promise.reject(Object.assign(new Error('EMFILE'), { code: 'EMFILE' }));

for (const [title, code, times] of [
  ['one failed check does not mark the folder as not answering', 'EIO', 1],
  ['a lack of descriptors does not mark the folder as not answering, however long it lasts', 'EMFILE', 3],
] as const)
  test(title, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-folder-'));
    const real = fs.readlinkSync;
    const restore = (): void => {
      fs.readlinkSync = real;
      syncBuiltinESMExports();
    };
    const folders = await followNetworkFolders({
      folders: [folder],
      copies: join(folder, 'copies'),
      paths: { folderFiles: noDescriptor, folderContents: noDescriptor },
      log: createLogger({ level: 'silent' }),
    });
    t.after(() => {
      restore();
      folders.close();
      rmSync(folder, { recursive: true });
    });
    const states = (): number[] => folders.checkedFolders.map(({ state }) => Atomics.load(state, 0));
    const before = states();
    let looks = 0;
    fs.readlinkSync = () => {
      looks += 1;
      if (looks === times) restore();
      throw Object.assign(new Error(code), { code });
    };
    syncBuiltinESMExports();
    for (let waited = 0; looks < times && waited < 60_000; waited += 50) await pause(50);
    await pause(50);
    assert.equal(looks, times);
    assert.deepEqual(states(), before);
  });

test(
  'a file server that has the device number of an unmounted file system is not read',
  { skip: noDeadServer },
  async (t) => {
    const top = mkdtempSync(join(tmpdir(), 'portcullis-folder-'));
    const folder = join(top, 'folder');
    const gone = Array.from({ length: 20 }, (_, index) => join(top, `gone-${String(index)}`));
    const taking = join(top, 'taking');
    for (const each of [folder, taking, ...gone]) mkdirSync(each);
    // The kernel gives the lowest free number. These file systems take those that other tests have freed.
    const mountOften = 'i=0; while [ $i -lt 200 ]; do mount -t tmpfs none "$1" || exit; i=$((i + 1)); done';
    execFileSync('sh', ['-c', mountOften, 'sh', taking]);
    for (const each of gone) execFileSync('mount', ['-t', 'tmpfs', 'none', each]);
    const devices = new Set(gone.map(deviceAt));
    const folders = await followNetworkFolders({
      folders: [folder],
      copies: join(top, 'copies'),
      paths: { folderFiles: noDescriptor, folderContents: noDescriptor },
      log: createLogger({ level: 'silent' }),
    });
    const servers: DeadServer[] = [];
    t.after(() => {
      folders.close();
      for (const server of servers) server.close();
      execFileSync('sh', ['-c', 'while umount "$1" 2> /dev/null; do :; done', 'sh', taking]);
      rmSync(top, { recursive: true });
    });
    for (const each of gone) execFileSync('umount', [each]);
    do servers.push(mountDeadServer(folder));
    while (servers.length < 60 && !devices.has(deviceAt(folder)));
    assert.ok(devices.has(deviceAt(folder)), 'the kernel gives the number of a device again');
    const states = (): number[] => folders.checkedFolders.map(({ state }) => Atomics.load(state, 0));
    // Closed at the next look, and not opened again.
    while (states().some((state) => state !== 0)) await pause(50);
    for (let look = 0; look < 20; look += 1) {
      await pause(50);
      assert.deepEqual(states(), [0]);
    }
  },
);

/** Reads the device from the mount table, without asking the file system. */
function deviceAt(folder: string): string {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  return lines.findLast((line) => line.split(' ')[4] === folder)?.split(' ')[2] ?? '';
}
