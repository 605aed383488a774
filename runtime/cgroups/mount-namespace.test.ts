import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { readCgroupMounts } from './cgroups.ts';

const skip =
  readCgroupMounts().hybrid && existsSync('/sys/fs/cgroup/unified')
    ? false
    : 'no hybrid cgroups on this host: the daemon stays in its mount namespace';
const fixture = join(import.meta.dirname, 'mount-namespace.fixture.ts');

/**
 * Runs a script in its own mount namespace, in which all mounts are private; `daemon` and `count` act on the
 * folder.
 */
function inPrivate(
  t: TestContext,
  script: string,
): { readonly counts: readonly number[]; readonly left: readonly string[] } {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-own-mount-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const functions = `daemon() { "${process.execPath}" "${fixture}" "${folder}" "$1" || true; }; count() { grep -c " ${folder} " /proc/self/mountinfo; }`;
  const run = spawnSync('unshare', ['-m', 'bash', '-c', `${functions}; folder="${folder}"; ${script}`], {
    encoding: 'utf8',
  });
  assert.equal(run.signal, null, run.stderr);
  return { counts: run.stdout.trim().split('\n').map(Number), left: readdirSync(folder) };
}

test(
  'a mount of a killed daemon is reused, not made again, and is removed when a later daemon stops',
  { skip },
  (t) => {
    const { counts, left } = inPrivate(
      t,
      'daemon stay; count; daemon stay; count; daemon leave; count; daemon leave; count',
    );
    assert.deepEqual(counts, [1, 1, 0, 0]);
    assert.deepEqual(left, []);
  },
);

test('a folder that cannot be created is an error, and not an endless attempt', { skip }, () => {
  const run = spawnSync(process.execPath, [fixture, '/proc/portcullis-none/root', 'leave'], {
    encoding: 'utf8',
    timeout: 20_000,
    killSignal: 'SIGKILL',
  });
  assert.equal(run.signal, null);
  assert.match(run.stderr, /make folder \/proc\/portcullis-none/u);
});

test('a daemon that was killed before it shared its mount leaves only one mount', { skip }, (t) => {
  const { counts } = inPrivate(
    t,
    'daemon stay; mount --make-private "$folder"; daemon stay; count; daemon leave; count',
  );
  assert.deepEqual(counts, [1, 0]);
});

test(
  'crun’s folders for version 2 do not reach the host, and work if systemd makes /sys/fs/cgroup read-only',
  { skip },
  (t) => {
    const make = `"${process.execPath}" "${fixture}" "$folder" make 2>&1 | grep -c EROFS`;
    // The mount point itself, below the file system that is mounted on it.
    const below = 'umount /sys/fs/cgroup/unified; ls /sys/fs/cgroup/unified | grep -c portcullis-test';
    assert.deepEqual(inPrivate(t, `${make}; ${below}`).counts, [0, 0]);
    const own =
      'mount -t tmpfs own /sys/fs/cgroup; mkdir /sys/fs/cgroup/pids /sys/fs/cgroup/unified; mount -t cgroup -o pids pids /sys/fs/cgroup/pids; ' +
      'mount -t cgroup2 unified /sys/fs/cgroup/unified; mount -o remount,ro /sys/fs/cgroup';
    assert.deepEqual(inPrivate(t, `${own}; ${make}; ${below}`).counts, [0, 0]);
  },
);

/** Returns what the fixture prints in its own mount namespace. */
function listed(t: TestContext, how: 'list' | 'late'): readonly string[] {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-own-mount-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const run = spawnSync('unshare', ['-m', process.execPath, fixture, folder, how], { encoding: 'utf8' });
  assert.equal(run.status, 0, run.stderr);
  return run.stdout.trim().split('\n');
}

test('every thread that starts after the move is in the new namespace', { skip }, (t) => {
  const [begun, ...outside] = listed(t, 'list');
  assert.equal(begun, 'begun');
  const helpers = outside.filter(
    (name) => !/^(?:DelayedTaskSche|node-V8Worker|SignalInspector)$/u.test(name),
  );
  assert.deepEqual(helpers, [], 'these threads would see other mounts than the main thread');
});

test(
  'a process whose threads may resolve paths executes itself again, and has one namespace',
  { skip },
  (t) => {
    assert.deepEqual(listed(t, 'late'), ['begun', 'begun']);
  },
);

test(
  'version 2 is hidden also if a process works in it, or if a file system is mounted below it',
  { skip },
  (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-own-mount-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const below = '/sys/fs/cgroup/unified/portcullis-test';
    for (const before of [
      'cd /sys/fs/cgroup/unified',
      `mkdir -p ${below} && mount -t tmpfs below ${below}`,
    ]) {
      const script = `${before}; exec "${process.execPath}" "${fixture}" "${folder}" mounts`;
      const run = spawnSync('unshare', ['-m', 'sh', '-c', script], { encoding: 'utf8' });
      spawnSync('rmdir', [below]);
      assert.deepEqual([run.status, run.stdout.trim()], [0, 'tmpfs'], `${before}: ${run.stderr}`);
    }
  },
);

test('a mount of another program stays, shared or not', { skip }, (t) => {
  const bind = 'mount --bind "$folder" "$folder"';
  assert.deepEqual(
    inPrivate(t, `${bind}; mount --make-shared "$folder"; daemon stay; daemon leave; count`).counts,
    [1],
  );
  assert.deepEqual(inPrivate(t, `${bind}; daemon stay; count; daemon leave; count`).counts, [2, 1]);
});

test(
  'a note of another boot, of another namespace, or an invalid note is not taken for ours',
  { skip },
  (t) => {
    const noted = (change: string): readonly number[] =>
      // A shared mount of another program: if its note were believed, the mount would be removed with the
      // daemon.
      inPrivate(
        t,
        `daemon stay; cp "$folder/own-mount.json" "$folder/note"; daemon leave; mount --bind "$folder" "$folder"; mount --make-shared "$folder"; ` +
          `${change}; daemon stay; daemon leave; count`,
      ).counts;
    assert.deepEqual(
      noted('sed s/bootId\\":\\"./bootId\\":\\"x/ "$folder/note" > "$folder/own-mount.json"'),
      [1],
    );
    assert.deepEqual(noted('sed s/mnt:./mnt:x/ "$folder/note" > "$folder/own-mount.json"'), [1]);
    assert.deepEqual(noted('echo "{" > "$folder/own-mount.json"'), [1]);
    assert.deepEqual(
      noted('cp "$folder/note" "$folder/own-mount.json"'),
      [0],
      'the mount of the daemon is not recognized',
    );
  },
);

test('a daemon starts on a full disk, and its folder becomes a separate mount', { skip }, (t) => {
  // The mount that holds the folder is private and has no space for a note. The file of the note can be
  // created, but stays empty.
  const full =
    'mount -t tmpfs -o size=64k full "$folder"; mkdir "$folder/state"; outer="$folder"; folder="$folder/state"; head -c 99999 /dev/zero > "$outer/filler"';
  const start = `"${process.execPath}" "${fixture}" "$folder" stay; [ $? = 137 ]; echo $?`;
  const { counts } = inPrivate(
    t,
    `${full} 2>/dev/null; (${start}) 2>/dev/null; grep -c " $folder .*shared:" /proc/self/mountinfo`,
  );
  assert.deepEqual(counts, [0, 1]);
});
