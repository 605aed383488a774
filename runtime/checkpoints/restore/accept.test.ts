import assert from 'node:assert/strict';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { Settings } from '../../../entitlements/index.ts';
import type { OciSpec } from '../../oci/spec.types.ts';
import { podSpec } from '../images/pod.fixture.ts';
import { acceptImages, streamsOf, whyNotSupported } from './accept.ts';
import { openArchiveFolder } from './archive-folder.ts';
import { linkOnTheWay, mayUse, whyNotOpened } from './file-access.ts';

const images = join(import.meta.dirname, '../images/pod-fixtures');
const settings = {} as Settings;

describe('acceptImages', () => {
  let folder = '';
  let spec: OciSpec;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'pc-accept-'));
    cpSync(images, join(folder, 'archive/checkpoint'), { recursive: true });
    rmSync(join(folder, 'archive/checkpoint/spec.json'));
    writeFileSync(join(folder, 'archive/checkpoint/pages-1.img'), 'memory');
    for (const place of ['rootfs/bin', 'rootfs/etc', 'out', 'shm'])
      mkdirSync(join(folder, place), { recursive: true });
    writeFileSync(join(folder, 'rootfs/bin/busybox'), 'x');
    spec = {
      ...podSpec,
      root: { path: join(folder, 'rootfs'), readonly: false },
      mounts: podSpec.mounts.map((mount) =>
        mount.type === 'bind' ? { ...mount, source: join(folder, 'shm') } : mount,
      ),
    };
  });
  afterEach(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  const accept = async (): Promise<void> => {
    const archive = await openArchiveFolder(join(folder, 'archive'), 'x');
    try {
      await acceptImages({ archive, on: 'x', spec, settings, folder: join(folder, 'out'), cgroup: '/pod/c' });
    } finally {
      archive.close();
    }
  };
  const refusal = (code: string, message: RegExp): { readonly code: string; readonly message: RegExp } => ({
    code,
    message,
  });

  it('gives criu copies of what was checked, and its own images in place of the rest', async () => {
    await accept();
    const names = readdirSync(join(folder, 'out'));
    const same = (name: string): boolean => {
      const given = join(folder, 'archive/checkpoint', name);
      return readFileSync(given).equals(readFileSync(join(folder, 'out', name)));
    };
    for (const name of ['core-1.img', 'files.img', 'mountpoints-13.img', 'pages-1.img', 'timens-0.img'])
      assert.ok(same(name), name);
    for (const name of ['ids-1.img', 'cgroup.img', 'tmpfs-dev-44.tar.gz.img']) assert.ok(!same(name), name);
    assert.ok(names.includes('descriptors.json'));
    for (const name of ['utsns-12.img', 'ipcns-var-11.img', 'stats-dump'])
      assert.ok(!names.includes(name), name);
  });

  it('refuses a mount whose path leads through a link', async () => {
    rmSync(join(folder, 'rootfs/etc'), { recursive: true });
    symlinkSync('/root', join(folder, 'rootfs/etc'));
    await assert.rejects(
      accept(),
      refusal('RUNTIME_RESTORE_UNSUPPORTED', /\/etc\/\S+ of a mount leads through/),
    );
  });

  it('refuses a file that is missing, or reached through a link', async () => {
    rmSync(join(folder, 'rootfs/bin/busybox'));
    await assert.rejects(accept(), refusal('RUNTIME_RESTORE_RIGHTS', /"\/bin\/busybox" does not exist/));
    symlinkSync('/etc/shadow', join(folder, 'rootfs/bin/busybox'));
    await assert.rejects(accept(), refusal('RUNTIME_RESTORE_RIGHTS', /"\/bin\/busybox" cannot be reached/));
  });

  it('refuses another right, an image that is cut off, and a stream that is no pipe', async () => {
    spec = { ...spec, process: { ...spec.process, apparmorProfile: 'other' } };
    await assert.rejects(accept(), refusal('RUNTIME_RESTORE_RIGHTS', /the label portcullis-default instead/));
    spec = { ...spec, process: podSpec.process };
    writeFileSync(join(folder, 'archive/checkpoint/core-1.img'), 'x');
    await assert.rejects(accept(), refusal('RUNTIME_RESTORE_ARCHIVE', /its images cannot be read/));
    cpSync(join(images, 'core-1.img'), join(folder, 'archive/checkpoint/core-1.img'));
    writeFileSync(join(folder, 'archive/checkpoint/descriptors.json'), '["/etc/x","",""]');
    await assert.rejects(accept(), refusal('RUNTIME_RESTORE_ARCHIVE', /three pipes or null devices/));
  });

  it('refuses images that are too large to be read', async () => {
    writeFileSync(join(folder, 'archive/checkpoint/files.img'), Buffer.alloc(5 * 1024 * 1024));
    await assert.rejects(accept(), refusal('RUNTIME_RESTORE_ARCHIVE', /files.img has 5242880 bytes/));
  });
});

describe('a restore', () => {
  it('supports no container with another namespace, a terminal, a device or a rule of Landlock', () => {
    const { linux, process, mounts } = podSpec;
    const why = (change: Partial<OciSpec>, landlock?: Settings['landlock']): string | undefined =>
      whyNotSupported({ ...podSpec, ...change }, landlock === undefined ? {} : { landlock });
    const namespaces = (...more: OciSpec['linux']['namespaces']): string | undefined =>
      why({
        linux: {
          ...linux,
          namespaces: [
            ...linux.namespaces.filter(({ type }) => !more.some((one) => one.type === type)),
            ...more,
          ],
        },
      });
    assert.equal(why({}), undefined);
    assert.match(why({}, []) ?? '', /Landlock/);
    assert.match(why({ process: { ...process, terminal: true } }) ?? '', /terminal/);
    assert.match(why({ hooks: {} }) ?? '', /hooks/);
    assert.match(namespaces({ type: 'user', path: '/u' }) ?? '', /user namespace/);
    assert.match(namespaces({ type: 'time' }) ?? '', /time namespace/);
    assert.match(namespaces({ type: 'pid', path: '/p' }) ?? '', /no PID namespace of its own/);
    assert.match(namespaces({ type: 'ipc' }) ?? '', /namespace of the node/);
    assert.match(why({ linux: { ...linux, rootfsPropagation: 'rslave' } }) ?? '', /shares mounts/);
    const shared = [...mounts, { destination: '/d', type: 'bind', source: '/d', options: ['rslave'] }];
    assert.match(why({ mounts: shared }) ?? '', /shares mounts/);
  });

  it('takes only pipes and null devices as streams', () => {
    assert.equal(
      streamsOf(Buffer.from('["/dev/null", "pipe:[1]", "pipe:[2]"]'), 'x'),
      '["/dev/null","pipe:[1]","pipe:[2]"]',
    );
    for (const bad of ['x', '{}', '[]', '["pipe:[1]","pipe:[1]"]', '["/x pipe:[1]","pipe:[1]","pipe:[1]"]'])
      assert.throws(() => streamsOf(Buffer.from(bad), 'x'), { code: 'RUNTIME_RESTORE_ARCHIVE' });
  });

  it('opens only files that the user of the container may open', () => {
    const user = { uid: 1000, gid: 1000, additionalGids: [44] };
    assert.ok(mayUse({ uid: 1000, gid: 0, mode: 0o600 }, user, 6));
    assert.ok(!mayUse({ uid: 0, gid: 0, mode: 0o600 }, user, 4));
    assert.ok(
      mayUse({ uid: 0, gid: 44, mode: 0o640 }, user, 4) && !mayUse({ uid: 0, gid: 44, mode: 0o640 }, user, 2),
    );
    // The owner has only the rights of the owner.
    assert.ok(!mayUse({ uid: 1000, gid: 1000, mode: 0o077 }, user, 4));
    const folder = mkdtempSync(join(tmpdir(), 'pc-access-'));
    writeFileSync(join(folder, 'secret'), '', { mode: 0o600 });
    const process = { user, capabilities: podSpec.process.capabilities };
    const files = [{ name: '/secret', access: 0 }];
    assert.equal(whyNotOpened(folder, files, process), undefined);
    const capabilities = { ...podSpec.process.capabilities, permitted: [] };
    assert.match(
      whyNotOpened(folder, files, { user, capabilities }) ?? '',
      /user 1000 may not open .*"\/secret"/,
    );
    symlinkSync('/etc', join(folder, 'link'));
    assert.equal(linkOnTheWay(folder, ['/secret', '/none/x', '/link/passwd']), '/link/passwd');
    rmSync(folder, { recursive: true });
  });
});
