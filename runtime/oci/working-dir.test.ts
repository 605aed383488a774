import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, closeSync, existsSync, mkdirSync, mkdtempSync, openSync, rmSync, rmdirSync, symlinkSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { O_DIRECTORY, O_PATH, closeFd, openFile } from '../../base/kernel/index.ts';
import { checkWorkingDir } from './working-dir.ts';

/** Below the host's own root, whose /proc and /dev are mounts as a container's are. */
describe('the working directory before a command', () => {
  const folder = mkdtempSync(join(tmpdir(), 'working-dir-'));
  let root = -1;
  before(() => {
    mkdirSync(join(folder, 'plain'));
    for (const [name, target] of [
      ['fd', '/proc/self/fd/0'],
      ['fds', '/dev/fd'],
      ['loop', 'loop'],
      ['root', '/proc/1/root'],
      ['good', 'plain'],
    ] as const)
      symlinkSync(target, join(folder, name));
    root = openFile('/', O_PATH | O_DIRECTORY);
  });
  after(() => {
    closeFd(root);
    rmSync(folder, { recursive: true });
  });

  for (const isLocal of [true, false]) {
    const check = (cwd: string): Promise<void> =>
      checkWorkingDir({ root, cwd, container: 'c', isLocal: () => isLocal, runtimeChecks: true });
    const how = isLocal ? 'at once' : 'in a thread of its own';

    it(`is found in the root and in mounts (${how})`, async () => {
      for (const cwd of ['/', folder, `${folder}/good`, '/dev/pts', '/sys/kernel', '/dev/shm/..']) await check(cwd);
    });

    it(`is refused where it leads into /proc or nowhere (${how})`, async () => {
      for (const cwd of [
        '/proc',
        '/proc/sys',
        `${folder}/fd`,
        `${folder}/fds`,
        `${folder}/fds/0`,
        `${folder}/root/etc`,
        `${folder}/loop`,
        '/dev/none',
      ])
        await assert.rejects(check(cwd), { code: 'RUNTIME_BAD_WORKING_DIR' }, cwd);
    });
  }

  it('commands whose lookups may wait wait for each other, those of one container as well', async () => {
    const look = (container: string): Promise<void> =>
      checkWorkingDir({ root, cwd: '/dev/pts', container, isLocal: () => false, runtimeChecks: false });
    await Promise.all(['a', 'a', 'b', 'c', 'a', ...Array.from({ length: 50 }, (_, index) => `d${index % 7}`)].map(look));
  });

  it(
    'a volume that does not answer holds two lookups at most, and one of each container; others are refused in time',
    { timeout: 60_000, skip: existsSync('/dev/fuse') ? false : 'no /dev/fuse' },
    async () => {
      const volume = mkdtempSync(join(tmpdir(), 'working-dir-fuse-'));
      // No server reads from it: each lookup waits until it is closed.
      const server = openSync('/dev/fuse', 'r+');
      const options = `fd=3,rootmode=40000,user_id=0,group_id=0`;
      try {
        const { status, stderr } = spawnSync('mount', ['-i', '-t', 'fuse', '-o', options, 'none', volume], {
          stdio: ['ignore', 'pipe', 'pipe', server],
          encoding: 'utf8',
        });
        assert.equal(status, 0, stderr);
        const look = (container: string, cwd: string): Promise<string> =>
          checkWorkingDir({ root, cwd, container, isLocal: () => false, runtimeChecks: true }).then(
            () => 'found',
            (thrown: unknown) => (thrown as Error).message,
          );
        const hung = ['a', 'a', 'b', 'c', 'd', 'e'].map((container) => look(container, `${volume}/in`));
        const started = performance.now();
        const outcomes = await Promise.all(hung);
        assert.ok(performance.now() - started < 15_000);
        const own = outcomes.filter((outcome) => outcome.includes('the volume that holds it did not answer'));
        const waited = outcomes.filter((outcome) => outcome.includes('other lookups in volumes were not answered'));
        assert.deepEqual([own.length, waited.length], [2, 4], outcomes.join('\n'));
        // Two threads of libuv's pool are left to everybody else.
        await readFile('/etc/hostname');
      } finally {
        closeSync(server);
        spawnSync('umount', ['-l', volume]);
        rmdirSync(volume);
      }
      await checkWorkingDir({ root, cwd: '/dev/pts', container: 'a', isLocal: () => false, runtimeChecks: true });
    },
  );

  it('below a folder that root may not enter it is the runtime’s to judge, where that is safe', async () => {
    // A file system of its own, so that the lookup crosses a mount.
    const volume = mkdtempSync('/dev/shm/working-dir-');
    try {
      mkdirSync(join(volume, 'locked/home'), { recursive: true });
      for (const [name, target] of [
        ['to', 'locked'],
        ['proc', '/proc/self/fd'],
        ['out', 'locked/../proc'],
      ] as const)
        symlinkSync(target, join(volume, name));
      chownSync(join(volume, 'locked'), 1000, 1000);
      chmodSync(join(volume, 'locked'), 0o700);
      const paths = [
        '',
        '/locked',
        '/locked/home',
        '/to/home',
        '/locked/home/deep/er',
        '/proc',
        '/proc/0',
        '/out/0',
        '/none',
        '/none/home',
      ];
      const outcomes = (runtimeChecks: boolean): unknown => {
        const script = `
          const { O_DIRECTORY, O_PATH, openFile } = await import(${JSON.stringify(join(import.meta.dirname, '../../base/kernel/index.ts'))});
          const { checkWorkingDir } = await import(${JSON.stringify(join(import.meta.dirname, 'working-dir.ts'))});
          const root = openFile('/', O_PATH | O_DIRECTORY);
          const found = [];
          for (const path of ${JSON.stringify(paths)})
            found.push(await checkWorkingDir({ root, cwd: ${JSON.stringify(volume)} + path, container: 'c', isLocal: () => false, runtimeChecks: ${runtimeChecks} })
              .then(() => 'found', ({ code }) => code));
          console.log(JSON.stringify(found));`;
        // Root that the owner's mode binds, as on a server that takes it for nobody.
        const { stdout, stderr } = spawnSync(
          'setpriv',
          ['--bounding-set=-dac_override,-dac_read_search', process.execPath, '--input-type=module', '-e', script],
          { encoding: 'utf8' },
        );
        assert.notEqual(stdout, '', stderr);
        return JSON.parse(stdout);
      };
      const bad = 'RUNTIME_BAD_WORKING_DIR';
      assert.deepEqual(outcomes(true), ['found', 'found', 'found', 'found', 'found', bad, bad, bad, bad, bad]);
      assert.deepEqual(outcomes(false), ['found', 'found', bad, bad, bad, bad, bad, bad, bad, bad]);
    } finally {
      rmSync(volume, { recursive: true });
    }
  });
});
