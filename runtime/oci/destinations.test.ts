import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { hostPathsHere } from '../host-paths/in-process.fixture.ts';
import { checkDestinations } from './destinations.ts';
import type { OciDevice } from './spec.types.ts';

describe('the random devices of the host', () => {
  const rootfs = mkdtempSync(join(tmpdir(), 'destinations-'));
  after(() => rmSync(rootfs, { recursive: true }));
  const file = join(rootfs, 'file');
  writeFileSync(file, '');
  const link = join(rootfs, 'link');
  symlinkSync('/dev/urandom', link);

  const outcome = (
    mounts: readonly { readonly source: string; readonly destination: string }[],
    devices: readonly OciDevice[],
  ) =>
    checkDestinations({
      spec: {
        mounts: [
          { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: [] },
          ...mounts.map((mount) => ({ ...mount, type: 'bind', options: ['bind'] })),
        ],
        linux: { devices } as unknown as Parameters<typeof checkDestinations>[0]['spec']['linux'],
        process: { cwd: '/' } as Parameters<typeof checkDestinations>[0]['spec']['process'],
      },
      rootfs,
      launcher: undefined,
      privileged: false,
      container: 'c',
      paths: hostPathsHere,
    }).then(
      () => 'accepted',
      (thrown: unknown) => (thrown as { code: string }).code,
    );
  const refused = 'RUNTIME_DESTINATION_NOT_GRANTED';

  for (const [source, destination, expected] of [
    ['/dev/urandom', '/dev/random', 'accepted'],
    ['/dev/random', '/dev/random', 'accepted'],
    ['/dev/random', '/dev/urandom', 'accepted'],
    ['/dev/urandom', '/dev/random/below', refused],
    ['/dev/zero', '/dev/random', refused],
    ['/dev/null', '/dev/urandom', refused],
    ['/dev/shm', '/dev/random', refused],
    [file, '/dev/random', refused],
    [link, '/dev/random', refused],
    ['/dev/urandom', '/dev/null', refused],
    ['/dev/random', '/dev/zero', refused],
    ['/dev/null', '/dev/null', refused],
    ['/dev/shm', '/dev', refused],
    [file, '/dev', refused],
    ['/dev/shm', '/dev/of-the-pod', 'accepted'],
  ] as const)
    it(`${source.startsWith('/dev') ? source : source === file ? 'a file' : 'a link'} mounted at ${destination}: ${expected}`, async () => {
      assert.equal(await outcome([{ source, destination }], []), expected);
    });

  for (const [path, type, major, minor, expected] of [
    ['/dev/random', 'c', 1, 9, 'accepted'],
    ['/dev/random', 'c', 1, 8, 'accepted'],
    ['/dev/urandom', 'c', 1, 8, 'accepted'],
    ['/dev/random', 'c', 1, 5, refused],
    ['/dev/random', 'b', 1, 8, refused],
    ['/dev/urandom', 'c', 8, 1, refused],
    ['/dev/null', 'c', 1, 9, refused],
    ['/dev/null', 'c', 1, 3, 'accepted'],
    ['/dev/zero', 'c', 1, 9, refused],
  ] as const)
    it(`device ${type} ${major}:${minor} at ${path}: ${expected}`, async () => {
      assert.equal(
        await outcome([], [{ path, type, major, minor, fileMode: 0o666, uid: 0, gid: 0 }]),
        expected,
      );
    });
});
