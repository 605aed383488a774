import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
  closeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { DatabaseSync } from 'node:sqlite';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { openDatabase, writeFileAtomic } from './index.ts';

const run = promisify(execFile);
const migrations = [{ version: 1, sql: 'CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT) STRICT' }];
let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'portcullis-disk-'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

/**
 * Runs a program with a tmpfs of 512 KiB at `disk`, in a mount namespace that ends with it. Returns what it
 * prints as JSON.
 */
async function withSmallDisk(body: string, fileSystem: 'tmpfs' | 'ext4' = 'tmpfs'): Promise<unknown> {
  const disk = mkdtempSync(join(folder, 'small-'));
  const program = `
    import { execFileSync } from 'node:child_process';
    import { appendFileSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
    import { setTimeout as pause } from 'node:timers/promises';
    import { lockFolder, openDatabase, writeFileAtomic } from ${JSON.stringify(import.meta.resolve('./index.ts'))};
    const disk = ${JSON.stringify(disk)};
    const migrations = ${JSON.stringify(migrations)};
    if (${fileSystem === 'tmpfs'}) execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=512k', 'none', disk]);
    else {
      execFileSync('truncate', ['-s', '8M', disk + '.img']);
      execFileSync('mkfs.ext4', ['-q', '-b', '4096', '-m', '0', disk + '.img']);
      execFileSync('mount', ['-o', 'loop', disk + '.img', disk]);
    }
    const ballast = { path: disk + '/ballast', bytes: 128 * 1024, fillAfterMs: 0 };
    const filled = async () => {
      for (let tries = 0; tries < 5_000 && (statSync(ballast.path, { throwIfNoEntry: false })?.size ?? 0) < ballast.bytes; tries++) await pause(10);
      return statSync(ballast.path).size;
    };
    const fill = () => {
      for (const bytes of [65536, 4096, 512])
        try { for (;;) appendFileSync(disk + '/filler', 'x'.repeat(bytes)); } catch {}
    };
    const codeOf = (promise: Promise<unknown>) => promise.then(() => 'ok', (error) => error.code);
    const insert = (id: number, bytes: number) => [{ sql: 'INSERT INTO item VALUES (?, ?)', params: [id, 'x'.repeat(bytes)] }];
    ${body}`;
  const { stdout } = await run(
    'unshare',
    ['-m', '--propagation', 'private', process.execPath, '--input-type=module-typescript', '-e', program],
    {
      timeout: 20_000,
    },
  );
  return JSON.parse(stdout);
}

describe('a full disk', () => {
  it('makes only the call fail that does not fit, and writes succeed again when there is space', async () => {
    const seen = await withSmallDisk(`
      const db = await openDatabase({ path: disk + '/state.db', migrations });
      const first = await codeOf(db.write(insert(1, 10)));
      const group = await Promise.all([codeOf(db.write(insert(2, 10))), codeOf(db.write(insert(3, 2_000_000))), codeOf(db.write(insert(4, 10)))]);
      const after = await codeOf(db.write(insert(5, 10)));
      const ids = (await db.all('SELECT id FROM item ORDER BY id')).map((row) => row.id);
      await db.close();
      process.stdout.write(JSON.stringify({ first, group, after, ids }));`);
    assert.deepEqual(seen, {
      first: 'ok',
      group: ['ok', 'STORAGE_DISK_FULL', 'ok'],
      after: 'ok',
      ids: [1, 2, 4, 5],
    });
  });

  it('makes opening fail, and a file written atomically keeps its old bytes', async () => {
    const seen = await withSmallDisk(`
      await writeFileAtomic(disk + '/small', 'old');
      const large = await codeOf(writeFileAtomic(disk + '/small', 'x'.repeat(1_000_000)));
      const kept = readFileSync(disk + '/small', 'utf8');
      const files = readdirSync(disk);
      try { writeFileSync(disk + '/filler', 'x'.repeat(1_000_000)); } catch {}
      const open = await codeOf(openDatabase({ path: disk + '/state.db', migrations }));
      process.stdout.write(JSON.stringify({ large, kept, files, open }));`);
    assert.deepEqual(seen, {
      large: 'STORAGE_DISK_FULL',
      kept: 'old',
      files: ['small'],
      open: 'STORAGE_DISK_FULL',
    });
  });
});

for (const fileSystem of ['tmpfs', 'ext4'] as const)
  describe(`the lock of a folder on a full ${fileSystem}`, () => {
    /** Locks the folder in this process, and tries it in others. */
    const tried = `
      const { spawn, spawnSync } = await import('node:child_process');
      const { once } = await import('node:events');
      const from = (body) => [process.execPath, ['--input-type=module', '-e', 'import { lockFolder } from ${import.meta.resolve('./index.ts').replace(/^/, '"')}";' + body]];
      const inFolder = 'await lockFolder(' + JSON.stringify(disk) + ')';
      const another = () => spawnSync(...from(inFolder + '.then(() => console.log("ok"), (error) => console.log(error.code + ": " + error.failure.why))')).stdout.toString().trim();
      const lock = await lockFolder(disk);
      const meanwhile = another();
      lock.release();
      const holder = spawn(...from(inFolder + '; console.log("mine"); setInterval(() => undefined, 1000)'));
      await once(holder.stdout, 'data');
      const own = await codeOf(lockFolder(disk));
      holder.kill('SIGKILL');
      await once(holder, 'exit');
      const last = another();
      process.stdout.write(JSON.stringify({ meanwhile, own, last }));`;
    const exclusive = {
      meanwhile: 'STORAGE_IN_USE: another process uses it',
      own: 'STORAGE_IN_USE',
      last: 'ok',
    };

    it('is taken by one process at a time, until that process dies', async () => {
      assert.deepEqual(await withSmallDisk(`fill();${tried}`, fileSystem), exclusive);
    });

    it('is taken in place of an earlier holder, which the error does not name', async () => {
      const before = `
        execFileSync(process.execPath, ['--input-type=module', '-e', 'import { lockFolder } from ${import.meta.resolve('./index.ts').replace(/^/, '"')}"; await lockFolder(' + JSON.stringify(disk) + ')']);
        fill();`;
      assert.deepEqual(await withSmallDisk(`${before}${tried}`, fileSystem), exclusive);
    });
  });

for (const fileSystem of ['tmpfs', 'ext4'] as const)
  describe(`a ballast on a full ${fileSystem}`, () => {
    it('is not needed to delete or update rows once the database has reserved its own space', async () => {
      const seen = await withSmallDisk(
        `
        const db = await openDatabase({ path: disk + '/state.db', migrations, ballast });
        const before = await filled();
        for (let id = 1; id <= 20; id++) await db.write(insert(id, 1000));
        fill();
        const insertion = await codeOf(db.write(insert(100, 200_000)));
        const mixed = await codeOf(db.write([{ sql: 'DELETE FROM item WHERE id = 1' }, ...insert(101, 200_000)]));
        const untouched = statSync(ballast.path).size;
        execFileSync('rm', [ballast.path]);
        fill();
        const deletion = await codeOf(db.write([{ sql: 'DELETE FROM item WHERE id <= 10' }]));
        const update = await codeOf(db.write([{ sql: "UPDATE item SET name = 'short' WHERE id > 10" }]));
        const ids = (await db.all('SELECT id FROM item ORDER BY id')).map((row) => row.id);
        await db.close();
        process.stdout.write(JSON.stringify({ before, insertion, mixed, untouched, deletion, update, count: ids.length }));`,
        fileSystem,
      );
      const full = {
        before: 131_072,
        insertion: 'STORAGE_DISK_FULL',
        mixed: 'STORAGE_DISK_FULL',
        untouched: 131_072,
      };
      assert.deepEqual(seen, { ...full, deletion: 'ok', update: 'ok', count: 10 });
    });

    it('lets a properly closed database open, and is filled again when there is space', async () => {
      const seen = await withSmallDisk(
        `
        const open = (more) => openDatabase({ path: disk + '/state.db', migrations, ...more });
        const first = await open({ ballast });
        await first.write(insert(1, 10));
        await filled();
        await first.close();
        fill();
        const without = await codeOf(open());
        const second = await open({ ballast: { ...ballast, fillAfterMs: 60_000 } });
        const read = await codeOf(second.all('SELECT * FROM item'));
        const deletion = await codeOf(second.write([{ sql: 'DELETE FROM item' }]));
        await second.close();
        execFileSync('rm', [disk + '/filler']);
        const third = await open({ ballast });
        const after = await filled();
        await third.close();
        process.stdout.write(JSON.stringify({ without, read, deletion, after }));`,
        fileSystem,
      );
      assert.deepEqual(seen, { without: 'STORAGE_DISK_FULL', read: 'ok', deletion: 'ok', after: 131_072 });
    });
  });

it('the log that a closed database keeps is never read again', async () => {
  const path = join(folder, 'kept-log.db');
  const ballast = { path: join(folder, 'kept-log.ballast'), bytes: 1024 * 1024 };
  const rename = (id: number, name: string) => [
    { sql: 'INSERT OR REPLACE INTO item VALUES (?, ?)', params: [id, name] },
  ];
  const keeps = await openDatabase({ path, migrations, ballast });
  for (let id = 0; id < 20; id += 1) await keeps.write(rename(id, 'first'));
  await keeps.close();
  assert.ok(statSync(`${path}-reserve`).size > 0, 'it is kept');
  // A release that does not know the feature.
  const other = await openDatabase({ path, migrations });
  for (let id = 0; id < 20; id += 1) await other.write(rename(id, 'second'));
  await other.close();
  const again = await openDatabase({ path, migrations, ballast });
  assert.deepEqual(await again.all('SELECT DISTINCT name FROM item'), [{ name: 'second' }]);
  assert.deepEqual(await again.all('PRAGMA integrity_check'), [{ integrity_check: 'ok' }]);
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith('kept-log.db-reserve')),
    [],
  );
  await again.close();
});

it('data that is larger than the free pages is written if the disk has space', async () => {
  const path = join(folder, 'grows.db');
  const db = await openDatabase({
    path,
    migrations,
    ballast: { path: join(folder, 'grows.ballast'), bytes: 1024 * 1024 },
  });
  for (const [id, bytes] of [10, 100_000, 3_000_000, 20_000_000].entries())
    await db.write([{ sql: 'INSERT INTO item VALUES (?, ?)', params: [id, 'x'.repeat(bytes)] }]);
  assert.equal((await db.get('SELECT sum(length(name)) AS bytes FROM item'))?.['bytes'], 23_100_010);
  await db.close();
});

it('a ballast is not created if it would fill the disk', async () => {
  const seen = await withSmallDisk(`
    appendFileSync(disk + '/filler', 'x'.repeat(200_000));
    const db = await openDatabase({ path: disk + '/state.db', migrations, ballast });
    await pause(200);
    await db.close();
    process.stdout.write(JSON.stringify(statSync(ballast.path).size));`);
  assert.equal(seen, 0);
});

describe('a read-only file system', () => {
  it('is reported, for a database and for a file', async () => {
    const seen = await withSmallDisk(`
      const db = await openDatabase({ path: disk + '/state.db', migrations });
      await db.close();
      execFileSync('mount', ['-o', 'remount,ro', disk]);
      process.stdout.write(JSON.stringify({
        open: await codeOf(openDatabase({ path: disk + '/state.db', migrations })),
        create: await codeOf(openDatabase({ path: disk + '/sub/other.db', migrations })),
        file: await codeOf(writeFileAtomic(disk + '/file', 'x')),
      }));`);
    assert.deepEqual(seen, {
      open: 'STORAGE_READ_ONLY',
      create: 'STORAGE_READ_ONLY',
      file: 'STORAGE_READ_ONLY',
    });
  });
});

describe('a damaged file', () => {
  it('that is not a database is refused, and not changed', async () => {
    const path = join(folder, 'text.db');
    writeFileSync(path, 'this is not a database, whatever its name says; '.repeat(50));
    await assert.rejects(openDatabase({ path, migrations }), {
      code: 'STORAGE_DAMAGED',
      kind: 'data-loss',
      message: /move the file .* aside/,
    });
    assert.match(readFileSync(path, 'utf8'), /^this is not a database/);
  });

  it('is found when a page is read', async () => {
    const path = join(folder, 'page.db');
    const db = await openDatabase({ path, migrations });
    await db.write(
      Array.from({ length: 500 }, (_, id) => ({
        sql: 'INSERT INTO item VALUES (?, ?)',
        params: [id, 'x'.repeat(100)],
      })),
    );
    await db.close();
    const file = openSync(path, 'r+');
    for (let page = 2; page < 10; page++) writeSync(file, Buffer.alloc(4096, 0xab), 0, 4096, page * 4096);
    closeSync(file);
    const damaged = await openDatabase({ path, migrations });
    await assert.rejects(damaged.all('SELECT * FROM item'), {
      code: 'STORAGE_DAMAGED',
      kind: 'data-loss',
      // SQLite also reports this after errors of the disk, while the file is sound.
      message: /check the disk and the kernel log, and start again/u,
    });
    await damaged.close();
  });

  it('that was truncated is refused', async () => {
    const path = join(folder, 'short.db');
    const db = await openDatabase({ path, migrations });
    await db.close();
    truncateSync(path, 4096);
    const outcome = openDatabase({ path, migrations }).then((opened) =>
      // oxlint-disable-next-line typescript/no-misused-promises -- finally waits for the promise
      opened.all('SELECT * FROM item').finally(() => opened.close()),
    );
    await assert.rejects(outcome, { code: 'STORAGE_DAMAGED' });
  });
});

/**
 * Creates a database whose process was killed, with a damaged page in its middle that no statement of a start
 * reads.
 */
async function killedAndDamaged(name: string, boot: 'this' | 'another'): Promise<string> {
  const path = join(folder, `${name}.db`);
  const first = await openDatabase({ path, migrations });
  await first.write(
    Array.from({ length: 500 }, (_, id) => ({
      sql: 'INSERT INTO item VALUES (?, ?)',
      params: [id, 'x'.repeat(100)],
    })),
  );
  await first.close();
  if (boot === 'another') {
    const db = new DatabaseSync(path);
    db.exec('PRAGMA application_id = 12345');
    db.close();
  }
  // A killed process leaves a log that was not moved into the file.
  const running = new DatabaseSync(path);
  running.exec("INSERT INTO item VALUES (1000, 'last')");
  const copy = join(folder, `${name}-killed.db`);
  for (const suffix of ['', '-wal']) copyFileSync(path + suffix, copy + suffix);
  running.close();
  const file = openSync(copy, 'r+');
  for (let page = 4; page < 8; page++) writeSync(file, Buffer.alloc(4096, 0xab), 0, 4096, page * 4096);
  closeSync(file);
  return copy;
}

describe('the check of the whole file', () => {
  it('is made at the first start after a kill in an earlier boot', async () => {
    const path = await killedAndDamaged('other-boot', 'another');
    await assert.rejects(openDatabase({ path, migrations }), {
      code: 'STORAGE_DAMAGED',
      message: /consistency check/,
    });
    await assert.rejects(
      openDatabase({ path, migrations }),
      { code: 'STORAGE_DAMAGED' },
      'a refusal is not a check',
    );
  });

  it('is omitted after a kill in the same boot, which loses no data that the kernel has', async () => {
    const path = await killedAndDamaged('same-boot', 'this');
    const db = await openDatabase({ path, migrations });
    assert.equal((await db.get('SELECT name FROM item WHERE id = 1000'))?.['name'], 'last');
    await assert.rejects(db.all('SELECT * FROM item'), { code: 'STORAGE_DAMAGED' });
    await db.close();
  });
});

describe('a path that cannot be used', () => {
  it('is reported with what to check', async () => {
    writeFileSync(join(folder, 'plain'), '');
    await assert.rejects(openDatabase({ path: join(folder, 'plain', 'state.db'), migrations }), {
      code: 'STORAGE_NO_ACCESS',
    });
    mkdirSync(join(folder, 'dir.db'));
    await assert.rejects(openDatabase({ path: join(folder, 'dir.db'), migrations }), {
      code: 'STORAGE_NO_ACCESS',
    });
    await assert.rejects(writeFileAtomic(join(folder, 'absent', 'file'), 'x'), {
      code: 'STORAGE_NO_ACCESS',
      message: /absent\/file/,
    });
  });
});

describe('a file written atomically', () => {
  it('is replaced completely, with the requested mode, and leaves no other file', async () => {
    const inside = join(folder, 'atomic');
    mkdirSync(inside);
    const path = join(inside, 'file');
    const before = process.umask(0o077);
    try {
      await writeFileAtomic(path, 'one', { mode: 0o644 });
      assert.equal(statSync(path).mode & 0o777, 0o644);
      await writeFileAtomic(path, new Uint8Array([50]));
      assert.equal(statSync(path).mode & 0o777, 0o600);
    } finally {
      process.umask(before);
    }
    assert.equal(readFileSync(path, 'utf8'), '2');
    await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        writeFileAtomic(path, String(n).repeat(10_000), { durable: false }),
      ),
    );
    assert.match(readFileSync(path, 'utf8'), /^(\d\d?)\1{9999}$/);
    assert.deepEqual(readdirSync(inside), ['file']);
  });

  it('replaces a symbolic link, not what it points to', async () => {
    const target = join(folder, 'target');
    writeFileSync(target, 'theirs');
    symlinkSync(target, join(folder, 'link'));
    await writeFileAtomic(join(folder, 'link'), 'ours');
    assert.equal(readFileSync(target, 'utf8'), 'theirs');
    assert.equal(readFileSync(join(folder, 'link'), 'utf8'), 'ours');
  });
});
