import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  appendFileSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import type { NetworkEngine } from '../types.ts';
import { loadEngineThreadEarly } from './thread/engine-thread.ts';
import { createFixture, eventually, inPrivateNetns, shell } from './engine.fixture.ts';
import type { Fixture, Pod } from './engine.fixture.ts';

const kib = 1024;

/** The database on a file system of its own without a free block. */
if (inPrivateNetns(import.meta.filename, 120_000)) {
  let fixture: Fixture;
  let engine: NetworkEngine;
  let folder = '';
  const ballast = () => ({ path: join(folder, 'ballast'), bytes: 8 * 1024 * kib });
  const filler = (): string => join(folder, 'filler');
  before(async () => {
    fixture = createFixture();
    folder = dirname(fixture.databasePath);
    mkdirSync(folder, { mode: 0o700 });
    shell(`mount -t tmpfs -o size=24m,mode=0700 tmpfs ${folder}`);
    writeFileSync(ballast().path, randomBytes(ballast().bytes), { mode: 0o600 });
    engine = await fixture.engine({ ballast: ballast() });
    // The space that it reserves for removals: the length of the log, and free pages.
    for (const path of [`${fixture.databasePath}-wal`, fixture.databasePath])
      await eventually(() => (statSync(path).size >= ballast().bytes / 16 ? true : undefined));
  });
  after(async () => {
    rmSync(filler(), { force: true });
    await engine.close({ removeAll: true });
    shell(`umount ${folder}`);
    fixture.end();
  });

  const fill = (path = filler()): void => {
    for (const size of [64 * kib, 4 * kib, 512])
      try {
        for (;;) appendFileSync(path, randomBytes(size));
      } catch (thrown) {
        assert.equal((thrown as NodeJS.ErrnoException).code, 'ENOSPC');
      }
  };

  test('an engine whose database did not fit on the disk starts when it is tried again with more space', async () => {
    const other = join(fixture.folder, 'other');
    mkdirSync(other);
    shell(`mount -t tmpfs -o size=8m,mode=0700 tmpfs ${other}`);
    fill(join(other, 'filler'));
    const start = (): Promise<NetworkEngine> =>
      fixture.engine({ databasePath: join(other, 'network.db'), threads });
    const networkThreads = (): number =>
      readdirSync('/proc/self/task').filter((thread) =>
        readFileSync(`/proc/self/task/${thread}/comm`, 'utf8').startsWith('network.worker'),
      ).length;
    // Before another thread starts: it has its name only when it has run.
    const before = networkThreads();
    const threads = loadEngineThreadEarly();
    await assert.rejects(start(), { code: 'STORAGE_DISK_FULL' });
    // A lost thread of an engine that has started gets a successor after half a second.
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    assert.equal(networkThreads(), before, 'an engine that failed to start leaves no thread');
    rmSync(join(other, 'filler'));
    const started = await start();
    await started.close({ removeAll: true });
    shell(`umount ${other}`);
  });

  test('on a full disk, a pod is detached, its address is released, and new pods are refused', async () => {
    const pods: Pod[] = [];
    let made = 0;
    const attach = async (): Promise<void> => {
      const pod = fixture.pod(`p${(made += 1)}`);
      await engine.attach(pod.request);
      pods.push(pod);
    };
    for (let index = 0; index < 8; index += 1) await attach();
    fill();
    // A few records fit into the space that the database's log already has.
    const refused = await (async () => {
      for (let index = 0; index < 400; index += 1) await attach();
    })().catch((thrown: unknown) => thrown);
    assert.ok(isPortcullisError(refused) && refused.code === 'STORAGE_DISK_FULL', String(refused));
    assert.equal(statSync(ballast().path).size, ballast().bytes, 'refused pods use no addresses');
    // The space that detaching needs is reserved in the database itself.
    rmSync(ballast().path);
    fill();
    for (const { request } of pods) await engine.detach(request.id);
    for (const { request } of pods) shell(`umount ${request.netns}`);
    await eventually(() => (fixture.rows('SELECT count(*) FROM lease')[0] === '0' ? true : undefined));
    rmSync(filler());
    await attach();
  });
}
