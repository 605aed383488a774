import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { lstat, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { O_DIRECTORY, O_PATH, closeFd, openFile, startKernelWorker } from '../../base/kernel/index.ts';
import { holdDescriptors } from '../../base/process/descriptors.fixture.ts';
import { programStarter, startReactor } from '../../base/reactor/index.ts';
import { mountDeadServer, noDeadServer } from '../../test/fixtures/dead-server.ts';
import { openHostPaths } from '../host-paths/host-paths.ts';
import { checkWorkingDir } from './working-dir.ts';

/** The test works below the host's own root, whose /proc and /dev are mounts as in a container. */
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

  const check = (cwd: string): void => checkWorkingDir({ root, cwd, container: 'c', runtimeChecks: true });

  it('is not reported as missing when no file descriptor is left', () => {
    const descriptors = holdDescriptors();
    try {
      descriptors.fill();
      assert.throws(() => check(folder), { code: 'KERNEL_EMFILE' });
    } finally {
      descriptors.release();
    }
  });

  it('is found in the root and in mounts', () => {
    for (const cwd of ['/', folder, `${folder}/good`, '/dev/pts', '/sys/kernel', '/dev/shm/..']) check(cwd);
  });

  it('is refused if it leads into /proc or does not exist', () => {
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
      assert.throws(() => check(cwd), { code: 'RUNTIME_BAD_WORKING_DIR' }, cwd);
  });

  it(
    'a volume that does not answer does not block a thread of the daemon, and commands are refused in time',
    { timeout: 60_000, skip: noDeadServer },
    async () => {
      const server = mountDeadServer();
      const hold = setInterval(() => undefined, 1_000);
      const [reactor, kernel] = await Promise.all([startReactor(), startKernelWorker()]);
      const paths = await openHostPaths(programStarter(reactor, kernel), []);
      try {
        const look = (container: string, cwd: string): Promise<string> =>
          paths.checkPlace({ container, init: process.pid, place: { cwd }, runtimeChecks: true }).then(
            () => 'found',
            (thrown: unknown) => (thrown as Error).message,
          );
        const started = performance.now();
        let answered = 0;
        const hung = ['a', 'a', 'b', 'c', 'd', 'e'].map((container) =>
          look(container, `${server.folder}/in`).finally(() => (answered += 1)),
        );
        await readFile('/etc/hostname');
        await lstat('/');
        assert.equal(answered, 0);
        for (const outcome of await Promise.all(hung))
          assert.match(outcome, /a volume of container [a-e]\) did not answer/);
        assert.ok(performance.now() - started < 45_000);
        assert.equal(await look('a', '/dev/pts'), 'found');
      } finally {
        server.close();
        await paths.close();
        await Promise.all([reactor.close(), kernel.close()]);
        clearInterval(hold);
      }
    },
  );

  it('is checked by the runtime below a folder that root may not enter, if that is safe', async () => {
    // A separate file system, so that the lookup crosses a mount.
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
            try {
              checkWorkingDir({ root, cwd: ${JSON.stringify(volume)} + path, container: 'c', runtimeChecks: ${runtimeChecks} });
              found.push('found');
            } catch ({ code }) {
              found.push(code);
            }
          console.log(JSON.stringify(found));`;
        // Runs as root that is bound by the owner's mode, as on a server that maps root to the user nobody.
        const { stdout, stderr } = spawnSync(
          'setpriv',
          [
            '--bounding-set=-dac_override,-dac_read_search',
            process.execPath,
            '--input-type=module',
            '-e',
            script,
          ],
          { encoding: 'utf8' },
        );
        assert.notEqual(stdout, '', stderr);
        return JSON.parse(stdout);
      };
      const bad = 'RUNTIME_BAD_WORKING_DIR';
      assert.deepEqual(outcomes(true), [
        'found',
        'found',
        'found',
        'found',
        'found',
        bad,
        bad,
        bad,
        bad,
        bad,
      ]);
      assert.deepEqual(outcomes(false), ['found', 'found', bad, bad, bad, bad, bad, bad, bad, bad]);
    } finally {
      rmSync(volume, { recursive: true });
    }
  });
});
