import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
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
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { mountDeadServer, noDeadServer } from '../../test/fixtures/dead-server.ts';
import { createBoundedFiles } from './bounded-files.ts';
import { openDestination } from './destination.ts';
import type { Destination } from './destination.ts';

describe('openDestination', () => {
  let base = '';
  let top = '';
  before(() => {
    base = mkdtempSync(join(tmpdir(), 'pc-destination-'));
  });
  beforeEach(() => {
    top = join(base, 'archives');
    rmSync(top, { recursive: true, force: true });
    mkdirSync(top, { mode: 0o700 });
  });
  after(() => rmSync(base, { recursive: true, force: true }));

  const open = (location: string, folders = [top], files = createBoundedFiles()): Promise<Destination> =>
    openDestination(location, folders, { token: 'token', deadline: performance.now(), files });
  const written = async (location: string, text = 'new'): Promise<void> => {
    const destination = await open(location);
    try {
      const file = await destination.create();
      await file.writeFile(text);
      // oxlint-disable-next-line typescript/no-misused-promises -- finally waits for the promise
      await destination.publish(file).finally(() => file.close());
    } finally {
      await destination.close();
    }
  };

  it('gives the archive its name when it is complete, and only root can read it', async () => {
    const destination = await open(join(top, 'a.tar'));
    const file = await destination.create();
    await file.writeFile('part');
    assert.ok(!existsSync(join(top, 'a.tar')));
    assert.ok(existsSync(destination.partial));
    await destination.publish(file);
    await file.close();
    await destination.close();
    assert.deepEqual(readdirSync(top), ['a.tar']);
    assert.equal(statSync(join(top, 'a.tar')).mode & 0o7777, 0o600);
  });

  it('leaves no file if it is closed before the archive is complete', async () => {
    const destination = await open(join(top, 'a.tar'));
    await (await destination.create()).close();
    await destination.close();
    assert.deepEqual(readdirSync(top), []);
  });

  it('keeps an existing file of the same name, also if it appeared meanwhile', async () => {
    const location = join(top, 'a.tar');
    const destination = await open(location);
    const file = await destination.create();
    writeFileSync(location, 'old');
    await assert.rejects(destination.publish(file), { code: 'RUNTIME_CHECKPOINT_EXISTS' });
    await file.close();
    await destination.close();
    await assert.rejects(written(location), { code: 'RUNTIME_CHECKPOINT_EXISTS' });
    assert.equal(readFileSync(location, 'utf8'), 'old');
    assert.deepEqual(readdirSync(top), ['a.tar']);
  });

  it('refuses a name that is too long for a file system, and does not report that it exists', async () => {
    for (const name of ['a'.repeat(256), 'ä'.repeat(128)])
      await assert.rejects(written(join(top, name)), { code: 'RUNTIME_CHECKPOINT_LOCATION' });
    await written(join(top, 'ä'.repeat(127)));
  });

  it('says why no file can be created in the folder', async (t) => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m,nr_inodes=1,mode=700', 'none', top]);
    t.after(() => execFileSync('umount', [top]));
    await assert.rejects(written(join(top, 'a.tar')), {
      ...{ code: 'RUNTIME_CHECKPOINT_FAILED', kind: 'exhausted' },
      message: /no file can be created in its folder/,
    });
    execFileSync('mount', ['-o', 'remount,ro', top]);
    await assert.rejects(written(join(top, 'a.tar')), {
      ...{ code: 'RUNTIME_CHECKPOINT_FAILED', kind: 'precondition' },
      message: /no file can be created in its folder: its file system is read-only/,
    });
  });

  it('does not follow a link with the name of the archive', async () => {
    symlinkSync(join(base, 'elsewhere'), join(top, 'a.tar'));
    await assert.rejects(written(join(top, 'a.tar')), { code: 'RUNTIME_CHECKPOINT_EXISTS' });
    assert.ok(!existsSync(join(base, 'elsewhere')));
  });

  it('refuses paths that are not absolute and normalized', async () => {
    for (const bad of [
      '',
      'a.tar',
      `${top}/../a.tar`,
      `${top}//a.tar`,
      `${top}/a\0.tar`,
      `${top}/a.tar/`,
      `${top}/.portcullis-checkpoint-a`,
    ])
      await assert.rejects(written(bad), { code: 'RUNTIME_CHECKPOINT_LOCATION' }, JSON.stringify(bad));
  });

  it('does not ask a file server about a folder that is not allowed', { skip: noDeadServer }, async () => {
    const dead = mountDeadServer();
    let hasWaited = false;
    // A look-up on the server would wait for ever.
    const hangUp = setTimeout(() => {
      hasWaited = true;
      dead.hangUp();
    }, 20_000);
    try {
      await assert.rejects(written(join(dead.folder, 'folder/a.tar')), {
        code: 'RUNTIME_CHECKPOINT_LOCATION',
      });
      const other = await open(join(top, 'a.tar'), [dead.folder, `${top}/`]);
      await other.close();
      assert.equal(hasWaited, false, 'a request waited for the file server');
    } finally {
      clearTimeout(hangUp);
      dead.close();
    }
  });

  it('gives up on a file server that does not answer, with one thread', { skip: noDeadServer }, async (t) => {
    const files = createBoundedFiles();
    const dead = mountDeadServer();
    t.after(() => {
      dead.close();
    });
    // More than the threads of libuv's pool.
    await Promise.all(
      Array.from({ length: 6 }, () =>
        assert.rejects(open(join(dead.folder, 'a.tar'), [dead.folder], files), {
          ...{ code: 'RUNTIME_CHECKPOINT_FAILED', kind: 'deadline' },
          message: /^write checkpoint to ".*": the file system of the archive does not answer/,
        }),
      ),
    );
    const other = await open(join(top, 'a.tar'), [top], files);
    await other.close();
  });

  it('reports the path of the archive', async () => {
    await assert.rejects(open(join(base, 'other.tar')), {
      code: 'RUNTIME_CHECKPOINT_LOCATION',
      message: /^write checkpoint to ".*\/other\.tar": /,
    });
  });

  it('refuses folders that are not allowed, also behind a link', async () => {
    mkdirSync(join(base, 'other'), { recursive: true });
    symlinkSync(join(base, 'other'), join(top, 'link'));
    for (const bad of [
      join(base, 'other/a.tar'),
      join(top, 'link/a.tar'),
      join(top, 'none/a.tar'),
      join(base, 'archives-2/a.tar'),
    ])
      await assert.rejects(written(bad), { code: 'RUNTIME_CHECKPOINT_LOCATION' }, bad);
    assert.deepEqual(readdirSync(join(base, 'other')), []);
    await assert.rejects(written(join(top, 'none/a.tar')), {
      message: /: the folder \S+\/none does not exist; create the folder, or /,
    });
  });

  it('refuses a folder if another user can change it or a folder above it', async () => {
    mkdirSync(join(top, 'open/below'), { recursive: true });
    chmodSync(join(top, 'open'), 0o777);
    for (const bad of [join(top, 'open/a.tar'), join(top, 'open/below/a.tar')])
      await assert.rejects(written(bad), /can change the folder/);
  });
});
