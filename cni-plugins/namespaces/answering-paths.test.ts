import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { mountDeadServer, noDeadServer } from '../../test/fixtures/dead-server.ts';
import type { DeadServer } from '../../test/fixtures/dead-server.ts';
import { inPrivateNetns, shell } from '../engine/engine.fixture.ts';
import { createAnsweringPaths } from './answering-paths.ts';

const noAnswer = { code: 'NETWORK_PATH_NO_ANSWER', kind: 'deadline' };

if (noDeadServer === false && inPrivateNetns(import.meta.filename)) {
  let server: DeadServer;
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-paths-'));
    server = mountDeadServer();
  });
  after(() => {
    server.close();
    rmSync(folder, { recursive: true });
  });

  test('paths on local file systems need no question, whether they exist or not', () => {
    const paths = createAnsweringPaths();
    symlinkSync('loop', join(folder, 'loop'));
    const local = [
      folder,
      join(folder, 'missing/one'),
      join(folder, 'loop/one'),
      `/run/${'n'.repeat(300)}`,
      '/proc/self/ns/net',
      '/proc/self/fd/0',
      '/dev/null/one',
      'relative',
      '',
    ];
    assert.equal(paths.ask(local, {}), undefined);
    for (const path of local) paths.check(path, {});
  });

  test('a path that leads to a dead server is refused, and only it', async () => {
    const paths = createAnsweringPaths();
    const link = join(folder, 'link');
    symlinkSync(server.folder, link);
    symlinkSync(`../..${link}`, join(folder, 'relative'));
    mkdirSync(join(folder, 'real'));
    const dead = [server.folder, `${server.folder}/one`, link, `${link}/one`, join(folder, 'relative/one')];
    for (const path of dead) assert.throws(() => paths.check(path, {}), noAnswer, path);
    paths.check(join(link, '..', folder, 'real'), {});
    const started = performance.now();
    await paths.ask(dead, {});
    assert.ok(performance.now() - started < 9_000, 'one process for the device');
    const root = openSync('/', 'r');
    try {
      for (const path of dead)
        for (const caller of [{}, { fd: root }])
          assert.throws(() => paths.check(path, caller), noAnswer, path);
      await paths.ask(dead, { fd: root });
      assert.throws(() => paths.check(link, { fd: root }), noAnswer);
    } finally {
      closeSync(root);
    }
  });

  test("a caller's own root begins the path, also when the caller has ended", async () => {
    const paths = createAnsweringPaths();
    const root = openSync(folder, 'r');
    try {
      writeFileSync(join(folder, 'file'), '');
      symlinkSync('/file', join(folder, 'absolute'));
      const { pid } = spawnSync('true');
      for (const caller of [{ fd: root }, { fd: root, pid: process.pid }, { fd: root, pid }])
        for (const path of ['/file', '/absolute', '/../../file', server.folder]) {
          assert.equal(paths.ask([path], caller), undefined, path);
          paths.check(path, caller);
        }
    } finally {
      closeSync(root);
    }
  });

  test('a file system that may depend on a server is opened after it answered', async () => {
    const paths = createAnsweringPaths();
    const place = join(folder, 'foreign');
    mkdirSync(place);
    // Its type is not known to be local.
    shell(`mount -t tracefs none ${place}`);
    try {
      assert.throws(() => paths.check(place, {}), noAnswer);
      await paths.ask([place], {});
      paths.check(`${place}/trace`, {});
    } finally {
      shell(`umount ${place}`);
    }
  });
}
