import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { startKernelWorker } from '../../base/kernel/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { programStarter, startReactor } from '../../base/reactor/index.ts';
import type { Reactor } from '../../base/reactor/index.ts';
import { readCgroupMounts } from '../cgroups/cgroups.ts';
import type { CgroupMounts } from '../cgroups/cgroups.ts';
import type { ContainerRecord } from '../containers/record.ts';
import type { RuntimeHandler } from '../oci/runtime-handler.ts';
import { createCheckpoints } from './checkpoints.ts';
import type { Checkpoints } from './checkpoints.ts';

/** A program with runc's commands, which records its calls, and whose checkpoint does not end. */
const program = `#!/bin/sh
echo "$3" >> "$2/calls"
[ "$3" != checkpoint ] || [ ! -e "$2/ends" ] || exit 0
[ "$3" != checkpoint ] || exec sleep 602
`;
const record = {
  id: 'c'.repeat(64),
  sandboxId: 's',
  phase: 'running',
  runtimeHandler: 'runc',
} as ContainerRecord;

/** As much of a record as the documents of an archive need. */
const whole = {
  ...record,
  createdAt: '0',
  imageId: 'i',
  imageRef: 'i',
  logPath: '',
  config: {},
} as ContainerRecord;

describe('checkpoints', () => {
  let kernel: Kernel;
  let reactor: Reactor;
  let folder = '';
  let checkpoints: Checkpoints;
  let cgroups: CgroupMounts;
  let isStopping = false;
  let removeFile = (place: string): Promise<void> => rm(place, { force: true });
  let waits = (_key: string): Promise<void> => Promise.resolve();
  const path = process.env['PATH'];
  before(async () => {
    [kernel, reactor] = await Promise.all([startKernelWorker(), startReactor()]);
  });
  after(async () => {
    await reactor.close();
    await kernel.close();
  });
  beforeEach(() => {
    isStopping = false;
    waits = () => Promise.resolve();
    folder = mkdtempSync(join(tmpdir(), 'pc-checkpoints-'));
    mkdirSync(join(folder, 'archives'), { mode: 0o700 });
    writeFileSync(join(folder, 'program'), program, { mode: 0o755 });
    writeFileSync(join(folder, 'criu'), '#!/bin/sh\n', { mode: 0o755 });
    process.env['PATH'] = `${folder}:${path}`;
    cgroups = readCgroupMounts();
    open();
  });
  const open = (): void => {
    const handler = { name: 'runc', kind: 'runc', path: join(folder, 'program'), stateDir: folder };
    checkpoints = createCheckpoints({
      config: {
        root: folder,
        checkpoint: {
          ...{ enabled: true, restore: false, folders: [join(folder, 'archives')] },
          ...{ maxSize: '16Mi', keepFree: '1Mi', timeout: 60 },
        },
      },
      startProgram: programStarter(reactor, kernel),
      handlers: new Map([['runc', handler as RuntimeHandler]]),
      cgroups,
      container: () => whole,
      sandbox: () => undefined,
      isStopping: () => isStopping,
      cgroupOf: () => '/portcullis-no-such-cgroup',
      bundle: () => folder,
      writableLayer: () => join(folder, 'none'),
      paths: { removeFile: (place) => removeFile(place) },
      lock: (key, act) => waits(key).then(act),
      log: createLogger({ level: 'silent' }),
    });
  };
  afterEach(() => {
    process.env['PATH'] = path;
    rmSync(folder, { recursive: true, force: true });
  });

  const calls = (): string[] =>
    existsSync(join(folder, 'calls')) ? readFileSync(join(folder, 'calls'), 'utf8').trim().split('\n') : [];
  const frozen = async (): Promise<void> => {
    while (!calls().includes('checkpoint')) await pause(20);
  };
  const expectNothingLeft = (): void => {
    assert.deepEqual(calls(), ['pause', 'checkpoint', 'resume']);
    assert.deepEqual(readdirSync(join(folder, 'archives')), []);
    assert.deepEqual(readdirSync(join(folder, 'checkpoints')), []);
  };

  it('end when the container is stopped, so that it receives its stop signal', async () => {
    const written = assert.rejects(checkpoints.write(record, join(folder, 'archives/a.tar'), 5), {
      kind: 'precondition',
      message: /is being stopped/,
    });
    await frozen();
    isStopping = true;
    await written;
    expectNothingLeft();
  });

  it('that wait for their container do not block the checkpoint of another container', async () => {
    const held = Promise.withResolvers<undefined>();
    waits = async (key) => {
      if (key.endsWith('d'.repeat(64))) await held.promise;
    };
    const waiting = checkpoints.write({ ...record, id: 'd'.repeat(64) }, join(folder, 'archives/d.tar'), 1);
    const refused = assert.rejects(waiting, { kind: 'exhausted', message: /another checkpoint/ });
    const written = assert.rejects(checkpoints.write(record, join(folder, 'archives/a.tar'), 2), {
      kind: 'deadline',
    });
    await frozen();
    held.resolve(undefined);
    await refused;
    await written;
  });

  it('end when the client cancels', async () => {
    const client = new AbortController();
    const written = assert.rejects(
      checkpoints.write(record, join(folder, 'archives/a.tar'), 5, client.signal),
      { kind: 'cancelled', message: /was cancelled/ },
    );
    await frozen();
    client.abort();
    await written;
    expectNothingLeft();
  });

  it('end after their time limit also if the clock is set back', async (t) => {
    const written = assert.rejects(checkpoints.write(record, join(folder, 'archives/a.tar'), 2), {
      kind: 'deadline',
    });
    await frozen();
    const now = Date.now();
    t.mock.method(Date, 'now', () => now - 3_600_000);
    await written;
    expectNothingLeft();
  });

  it('fail with a reason if the images are incomplete although the runtime reports success', async () => {
    writeFileSync(join(folder, 'ends'), '');
    writeFileSync(join(folder, 'config.json'), '{"linux":{}}');
    await assert.rejects(checkpoints.write(record, join(folder, 'archives/a.tar'), 5), {
      code: 'RUNTIME_CHECKPOINT_FAILED',
      message: /criu did not write this file/,
    });
    expectNothingLeft();
  });

  it('fail with a reason if a file of the container is missing', async () => {
    writeFileSync(join(folder, 'ends'), '');
    await assert.rejects(checkpoints.write(record, join(folder, 'archives/a.tar'), 5), {
      ...{ code: 'RUNTIME_CHECKPOINT_FAILED', kind: 'internal' },
      message: /config\.json/,
    });
    expectNothingLeft();
  });

  it('do not freeze a container for an archive that cannot be written', async () => {
    const archives = join(folder, 'archives');
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'ro,mode=700', 'none', archives]);
    try {
      await assert.rejects(checkpoints.write(record, join(archives, 'a.tar'), 5), {
        code: 'RUNTIME_CHECKPOINT_FAILED',
        message: /read-only/,
      });
    } finally {
      execFileSync('umount', [archives]);
    }
    assert.deepEqual(calls(), []);
  });

  it('fail with a reason at whatever step the disk is full, and thaw the container', async () => {
    const disk = join(folder, 'checkpoints');
    mkdirSync(disk);
    writeFileSync(join(folder, 'ends'), '');
    for (let inodes = 1; inodes < 12; inodes += 1) {
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=64m,nr_inodes=${inodes}`, 'none', disk]);
      try {
        await assert.rejects(checkpoints.write(record, join(folder, 'archives/a.tar'), 5), {
          code: 'RUNTIME_CHECKPOINT_FAILED',
        });
        assert.deepEqual(readdirSync(join(folder, 'archives')), []);
        assert.deepEqual(readdirSync(disk), []);
        if (calls().includes('pause')) assert.equal(calls().at(-1), 'resume');
      } finally {
        execFileSync('umount', [disk]);
      }
    }
  });

  it('that were interrupted while their plan was written are removed by the next start', async () => {
    for (const [name, plan] of [
      ['empty', ''],
      ['half', '{"id":"c'],
    ] as const) {
      mkdirSync(join(folder, 'checkpoints', name), { recursive: true });
      writeFileSync(join(folder, 'checkpoints', name, 'plan.json'), plan);
    }
    assert.deepEqual(await checkpoints.recover(), []);
    assert.deepEqual(readdirSync(join(folder, 'checkpoints')), []);
  });

  it('whose plan cannot be read now are kept for the next start, and reported', async () => {
    // A read of a folder fails, as on a damaged disk.
    mkdirSync(join(folder, 'checkpoints/a/plan.json'), { recursive: true });
    assert.equal((await checkpoints.recover()).length, 1);
    assert.deepEqual(readdirSync(join(folder, 'checkpoints')), ['a']);
  });

  it('are reported if they cannot be listed', async () => {
    writeFileSync(join(folder, 'checkpoints'), '');
    assert.equal((await checkpoints.recover()).length, 1);
  });

  it('keep their plan until the incomplete archive is removed', async () => {
    const archives = join(folder, 'archives');
    const written = assert.rejects(checkpoints.write(record, join(archives, 'a.tar'), 1));
    await frozen();
    const partial = join(archives, readdirSync(archives)[0] ?? '');
    // A file that cannot be removed, as on a damaged disk.
    rmSync(partial);
    mkdirSync(partial);
    await written;
    assert.equal(readdirSync(join(folder, 'checkpoints')).length, 1);
    rmSync(partial, { recursive: true });
    writeFileSync(partial, '');
    assert.deepEqual(await checkpoints.recover(), []);
    assert.deepEqual(readdirSync(archives), []);
  });

  it('keep their plan while the server of the archive does not answer', async () => {
    mkdirSync(join(folder, 'checkpoints/a'), { recursive: true });
    const partial = join(folder, 'archives/.portcullis-checkpoint-a');
    const plan = { id: record.id, cgroup: '/portcullis-no-such-cgroup', partial };
    writeFileSync(join(folder, 'checkpoints/a/plan.json'), JSON.stringify(plan));
    writeFileSync(partial, '');
    const removes = removeFile;
    removeFile = () => Promise.reject(new Error('no answer'));
    assert.equal((await checkpoints.recover()).length, 1);
    removeFile = removes;
    assert.deepEqual(await checkpoints.recover(), []);
    assert.deepEqual(readdirSync(join(folder, 'archives')), []);
  });

  it('keep their plan while the container cannot be thawed, and the next start thaws it', async () => {
    const freezer = join(folder, 'portcullis-no-such-cgroup/cgroup.freeze');
    mkdirSync(freezer, { recursive: true });
    writeFileSync(join(folder, 'portcullis-no-such-cgroup/cgroup.procs'), '');
    cgroups = { version: 2, roots: [folder] } as unknown as CgroupMounts;
    open();
    const written = assert.rejects(checkpoints.write(record, join(folder, 'archives/a.tar'), 1));
    await written;
    assert.equal(readdirSync(join(folder, 'checkpoints')).length, 1);
    rmSync(freezer, { recursive: true });
    writeFileSync(freezer, '1');
    assert.deepEqual(await checkpoints.recover(), []);
    assert.equal(readFileSync(freezer, 'utf8'), '0');
    assert.deepEqual(readdirSync(join(folder, 'checkpoints')), []);
  });
});
