import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { MNT_DETACH, mount, mountOverlay, umount } from '../../base/kernel/index.ts';
import { writableLayerFindings } from './writable-layers.ts';

const folder = mkdtempSync('/tmp/pc-doctor-');
mount('tmpfs', folder, 'tmpfs', 0);
after(() => {
  umount(folder, MNT_DETACH);
  rmSync(folder, { recursive: true });
});
const at = (name: string): string => join(folder, name);
for (const name of ['lower', 'upper', 'work', 'container']) mkdirSync(at(name));
mountOverlay({ lower: [at('lower')], upper: at('upper'), work: at('work'), target: at('container') });

test('doctor reports that no container can be created where the folder of the daemon is on overlayfs', () => {
  const [found, ...others] = writableLayerFindings(at('container/lib/portcullis'));
  assert.equal(found?.state, 'missing');
  assert.match(found?.found ?? '', /container is on overlayfs/u);
  assert.deepEqual(others, []);
});

test('doctor reports no problem with writable layers on another file system', () => {
  mkdirSync(at('container/volume'));
  mount('tmpfs', at('container/volume'), 'tmpfs', 0);
  assert.deepEqual(writableLayerFindings(at('container/volume/portcullis')), []);
});
