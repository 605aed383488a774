import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ContainerConfig, Mount } from '../cri/contract/contract.types.ts';
import type { HostPaths } from '../host-paths/host-paths.ts';
import { hostPlaces, readonlyVolume } from './host-places.ts';

const paths = {
  facts: async (path: string) => ({ path, mode: (await stat(path)).mode }),
} as unknown as Pick<HostPaths, 'facts'>;

test('a volume that a profile makes read-only is so recursively, unless it is a single file', async (t) => {
  const top = mkdtempSync(join(tmpdir(), 'pc-'));
  t.after(() => rmSync(top, { recursive: true }));
  const [folder, file, missing] = [join(top, 'folder'), join(top, 'file'), join(top, 'missing')];
  mkdirSync(folder);
  writeFileSync(file, '');
  const mounts = [folder, file, missing].map((hostPath) => ({ hostPath, containerPath: '/at' }) as Mount);
  const sources = mounts.map((mount) => ({
    ...{ mount, path: mount.hostPath },
    missing: mount.hostPath === missing,
  }));
  const config = { mounts, devices: [] } as Pick<ContainerConfig, 'devices' | 'mounts'>;
  const { files } = await hostPlaces(config, { followed: config, sources }, paths);
  const edited = mounts.map((_, index) => Object.keys(readonlyVolume(files.has(index))));
  const recursive = ['readonly', 'recursiveReadOnly'];
  assert.deepEqual(edited, [recursive, ['readonly'], recursive]);
});
