import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { isPortcullisError } from '../../base/errors/index.ts';
import { startKernelWorker } from '../../base/kernel/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import { programStarter, startReactor } from '../../base/reactor/index.ts';
import type { Reactor } from '../../base/reactor/index.ts';
import { mountDeadServer, noDeadServer } from '../../test/fixtures/dead-server.ts';
import { hostPathsHere } from './in-process.fixture.ts';
import { isOf, openHostPaths } from './host-paths.ts';
import type { OpenHostPaths } from './host-paths.ts';

const hold = setInterval(() => undefined, 1_000);
let reactor: Reactor;
let kernel: Kernel;
let paths: OpenHostPaths;
let folder = '';
before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'host-paths-'));
  mkdirSync(join(folder, 'real'));
  writeFileSync(join(folder, 'real/file'), 'text');
  symlinkSync('real', join(folder, 'link'));
  [reactor, kernel] = await Promise.all([startReactor(), startKernelWorker()]);
  paths = await openHostPaths(programStarter(reactor, kernel), []);
});
after(async () => {
  await paths.close();
  assert.deepEqual(helpers(), [], 'no look-up process is left');
  await Promise.all([reactor.close(), kernel.close()]);
  clearInterval(hold);
  rmSync(folder, { recursive: true });
});

/** Returns the pids of our look-up processes. */
function helpers(): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      try {
        const [, parent] = /\) \S (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? [];
        return (
          Number(parent) === process.pid &&
          readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith('portcullis-look-up')
        );
      } catch {
        return false;
      }
    });
}

const codeOf = (asked: Promise<unknown>): Promise<string> =>
  asked.then(
    () => 'answered',
    (thrown: unknown) => String((thrown as { code?: unknown }).code),
  );

describe('host paths', () => {
  it('an answer from the kernel’s memory equals the result of a look-up, and needs no process', async () => {
    // Before these look-ups, the kernel does not know which files are missing, and updates the access time of
    // a link when it is first followed.
    for (const name of ['none', 'link/file']) existsSync(join(folder, name));
    for (const path of ['/dev/null', '/etc', join(folder, 'link/file'), join(folder, 'link'), '/']) {
      assert.deepEqual(await paths.facts(path), await hostPathsHere.facts(path));
      assert.deepEqual(await paths.ownFacts(path), await hostPathsHere.ownFacts(path), path);
    }
    assert.equal((await paths.facts(join(folder, 'link/file'))).path, join(folder, 'real/file'));
    assert.ok(isOf(await paths.ownFacts(join(folder, 'link')), 'link'));
    assert.ok(isOf(await paths.facts('/dev/null'), 'character'));
    assert.equal(await codeOf(paths.facts(join(folder, 'none'))), 'ENOENT');
    assert.deepEqual(helpers(), []);
  });

  it('a path is resolved as in the file system even if the caches do not know it', async () => {
    // The file systems of /proc and /sys revalidate their files at each look-up.
    assert.equal((await paths.facts('/proc/self/root')).path, '/');
    assert.equal((await paths.facts('/sys/kernel/../kernel')).path, '/sys/kernel');
    assert.equal(helpers().length, 1);
    assert.equal(await codeOf(paths.facts('/proc/none')), 'ENOENT');
    assert.equal(await codeOf(paths.facts(`${folder}/a\0b`)), 'ERR_INVALID_ARG_VALUE');
    assert.equal(await paths.linkTarget(join(folder, 'link')), 'real');
    assert.deepEqual(await paths.names(folder), ['link', 'real']);
    assert.deepEqual(await paths.text(join(folder, 'link/file'), 4), { text: 'text' });
    assert.deepEqual(await paths.text(join(folder, 'link/file'), 3), { refused: 'too large' });
    assert.deepEqual(await paths.text('/dev/null', 3), { refused: 'not a plain file' });
    assert.equal(await codeOf(paths.makeFolder('/proc/none/below', 0o755)), 'STORAGE_NO_ACCESS');
  });

  it('folders and files on the daemon’s own file system are created without a process, even if the caches do not know their names', async () => {
    const own = await openHostPaths(programStarter(reactor, kernel), [folder]);
    try {
      const before = helpers();
      assert.equal(await own.makeFolder(join(folder, 'pods/new/container'), 0o755), join(folder, 'pods'));
      assert.equal(await own.makeFolder(join(folder, 'pods/new/container'), 0o755), undefined);
      await own.makeFile(join(folder, 'pods/new/container/0.log'), 0o640);
      assert.equal(statSync(join(folder, 'pods/new/container/0.log')).mode & 0o777, 0o640);
      assert.deepEqual(helpers(), before);
    } finally {
      await own.close();
    }
  });

  it(
    'a link on the daemon’s own file system that leads to a dead server delays no other request',
    { timeout: 60_000, skip: noDeadServer },
    async () => {
      const server = mountDeadServer();
      const own = await openHostPaths(programStarter(reactor, kernel), [folder]);
      try {
        symlinkSync(`${server.folder}/volume`, join(folder, 'away'));
        const asked = [
          own.makeFolder(join(folder, 'away/pod'), 0o755),
          own.makeFile(join(folder, 'away/0.log'), 0o640),
        ].map(codeOf);
        // Longer than all four threads of libuv's pool would otherwise be blocked.
        for (let time = 0; time < 20; time++) await readFile('/etc/hostname');
        assert.deepEqual(await Promise.all(asked), ['RUNTIME_PATH_NO_ANSWER', 'RUNTIME_PATH_NO_ANSWER']);
      } finally {
        server.close();
        await own.close();
      }
    },
  );

  it(
    'dead servers occupy one process each and at most two, every request ends in time, and other requests are answered',
    { timeout: 120_000, skip: noDeadServer },
    async () => {
      const servers = [mountDeadServer(), mountDeadServer(), mountDeadServer()];
      try {
        const started = performance.now();
        const asked = servers.flatMap((server) =>
          Array.from({ length: 10 }, (_, index) =>
            paths.facts(`${server.folder}/volume/${index}`).catch((thrown: unknown) => thrown),
          ),
        );
        const outcomes = await Promise.all(asked);
        assert.ok(performance.now() - started < 30_000);
        for (const [index, outcome] of outcomes.entries()) {
          assert.ok(isPortcullisError(outcome), String(outcome));
          assert.deepEqual([outcome.code, outcome.kind], ['RUNTIME_PATH_NO_ANSWER', 'deadline']);
          assert.ok(
            outcome.message.includes(
              `${servers[Math.floor(index / 10)]?.folder ?? '-'}/volume/${index % 10}`,
            ),
            outcome.message,
          );
        }
        // They did not answer once: from now on two processes are reserved for other file systems.
        const again = servers.map((server) => codeOf(paths.facts(`${server.folder}/again`)));
        const wells = await Promise.all(
          Array.from({ length: 20 }, (_, index) => paths.names(index % 2 === 0 ? '/proc/self' : folder)),
        );
        assert.equal(wells.length, 20);
        assert.ok(helpers().length <= 4);
        // The whole process shares libuv's pool.
        await Promise.all(Array.from({ length: 8 }, () => readFile('/etc/hostname')));
        assert.deepEqual(await Promise.all(again), Array(3).fill('RUNTIME_PATH_NO_ANSWER'));
      } finally {
        for (const server of servers) server.close();
      }
    },
  );

  it(
    'a process that is killed while it writes its answer fails one request, and the next one is answered',
    { timeout: 60_000 },
    async () => {
      // More than the capacity of a pipe.
      writeFileSync(join(folder, 'large'), Buffer.alloc(32 * 1024 * 1024, 'x'));
      let cutOff = 0;
      for (let attempt = 0; attempt < 50 && cutOff < 3; attempt += 1) {
        await paths.names(folder);
        const asked = codeOf(paths.text(join(folder, 'large'), 64 * 1024 * 1024));
        await pause(20 + 5 * attempt);
        for (const pid of helpers()) process.kill(pid, 'SIGKILL');
        if ((await asked) === 'RUNTIME_PATH_UNKNOWN') cutOff += 1;
      }
      assert.equal(cutOff, 3);
      assert.ok((await paths.names(folder)).includes('large'));
      rmSync(join(folder, 'large'));
    },
  );

  it('the files of a folder are listed with their versions, and read byte for byte', async () => {
    mkdirSync(join(folder, 'files/inner'), { recursive: true });
    writeFileSync(join(folder, 'files/a.yaml'), Buffer.from([0xff, 0x61]));
    writeFileSync(join(folder, 'files/inner/b.conf'), 'b');
    symlinkSync('loop.json', join(folder, 'files/loop.json'));
    symlinkSync('nowhere', join(folder, 'files/lost.json'));
    const listed = async () =>
      (await paths.folderFiles(join(folder, 'files'))).toSorted((a, b) => (a.name < b.name ? -1 : 1));
    const before = await listed();
    assert.deepEqual(
      before.map(({ name, size }) => [name, size]),
      [
        ['a.yaml', 2],
        ['inner/b.conf', 1],
      ],
    );
    writeFileSync(join(folder, 'files/a.yaml'), 'longer');
    const after = await listed();
    assert.notEqual(after[0]?.version, before[0]?.version);
    assert.equal(after[1]?.version, before[1]?.version);
    writeFileSync(join(folder, 'files/a.yaml'), Buffer.from([0xff, 0x61]));
    assert.deepEqual(
      await paths.folderContents(join(folder, 'files'), ['a.yaml', 'gone.yaml', 'inner', 'inner/b.conf'], 1),
      [{ refused: 'too large' }, { failed: 'ENOENT' }, { refused: 'not a plain file' }, { text: 'b' }],
    );
    assert.deepEqual(await paths.folderContents(join(folder, 'files'), ['a.yaml'], 2), [{ text: '\u00ffa' }]);
  });

  it('a file system that answers again is asked again', { timeout: 60_000, skip: noDeadServer }, async () => {
    const server = mountDeadServer();
    const path = `${server.folder}/in`;
    assert.equal(await codeOf(paths.facts(path)), 'RUNTIME_PATH_NO_ANSWER');
    server.close();
    assert.equal(await codeOf(paths.facts(path)), 'ENOENT');
  });

  it(
    'closing ends hanging processes, and pending questions fail',
    { timeout: 60_000, skip: noDeadServer },
    async () => {
      const server = mountDeadServer();
      try {
        const own = await openHostPaths(programStarter(reactor, kernel), []);
        const asked = codeOf(own.facts(`${server.folder}/in`));
        const waits = codeOf(own.facts(`${server.folder}/in`));
        await own.names(folder);
        await own.close();
        assert.deepEqual([await asked, await waits], ['RUNTIME_PATH_NO_ANSWER', 'RUNTIME_PATH_NO_ANSWER']);
      } finally {
        server.close();
      }
    },
  );
});
