/**
 * `npm run test:checkpoint`: checkpoints by criu and runc, in the machine of test/vm, whose kernel has what
 * criu needs.
 */
import '../fixtures/private-namespaces.ts';
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
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { execute, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { patience } from '../fixtures/daemon.ts';
import { layerOf } from '../fixtures/image.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { findTool } from '../fixtures/tools.ts';

const criu = findTool('criu');

/** Counts in the memory of a shell, whose marker is in no file. */
const counter =
  'mark=in-the-; mark=${mark}memory; rm /etc/deleted; echo kept > /tmp/kept; n=0; while true; do n=$((n+1)); echo "$n"; sleep 0.2; done';

/** The processes named criu. */
function crius(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        return readFileSync(`/proc/${name}/comm`, 'utf8').trim() === 'criu';
      } catch {
        return false;
      }
    })
    .map(Number);
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

describe('checkpoints of containers', { skip: criu.skip }, () => {
  let stage: Stage;
  let folder = '';
  let image = '';
  let pod: Pod;
  let id = '';
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pc-checkpoint-'));
    const config = join(folder, 'config.yaml');
    mkdirSync(join(folder, 'archives'), { mode: 0o700 });
    mkdirSync(join(folder, 'archives/open'));
    chmodSync(join(folder, 'archives/open'), 0o777);
    writeFileSync(
      config,
      JSON.stringify({
        runtimes: { runc: { path: '/usr/sbin/runc' }, crun: { path: '/usr/bin/crun' } },
        defaultRuntime: 'runc',
        checkpoint: {
          ...{ enabled: true, folders: [join(folder, 'archives')] },
          ...{ maxSize: '48Mi', keepFree: '16Mi', timeout: 600 },
        },
      }),
    );
    stage = await openStage({ flags: ['--config', config] });
    image = await stage.pull(
      (await stage.publish('app/a:1', { layers: [await layerOf([{ name: 'etc/deleted', body: 'x' }])] }))
        .reference,
    );
    pod = await runPod(stage, 'counted', {}, 'runc');
    id = await runContainer(stage, pod, { name: 'counter', image, command: ['sh', '-c', counter] });
  });
  after(async () => {
    await stage.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const at = (name: string): string => join(folder, 'archives', name);
  const write = (location: string, containerId = id, timeout = 0) =>
    stage.daemon.cri.runtime.checkpointContainer(
      { containerId, location, timeout },
      { timeoutMs: patience * 3 },
    );
  const count = (): number => {
    const lines = readFileSync(join(pod.config.logDirectory ?? '', 'counter/0.log'), 'utf8')
      .trim()
      .split('\n');
    return Number(lines.at(-1)?.split(' ').at(-1));
  };
  /** The container continues to count: it is neither frozen nor damaged. */
  const expectCounting = async (from: number): Promise<void> => {
    assert.ok(count() >= from);
    const seen = count();
    for (let waited = 0; waited < 60_000 && count() < seen + 5; waited += 200) await pause(200);
    assert.ok(count() >= seen + 5, `the container stopped at ${seen}`);
    assert.equal((await execute(stage, id, 'cat', '/tmp/kept')).stdout, 'kept\n');
  };
  /** Nothing of a checkpoint is left beside the archives. */
  const expectNothingLeft = (): void => {
    const work = join(stage.folders.root, 'checkpoints');
    assert.deepEqual(existsSync(work) ? readdirSync(work) : [], []);
    assert.deepEqual(
      readdirSync(at('')).filter((name) => name.startsWith('.')),
      [],
    );
    assert.deepEqual(crius(), []);
  };

  it('are archives with the memory, the changed files and the log, and the container continues', async () => {
    const before = count();
    await write(at('first.tar'));
    assert.equal(statSync(at('first.tar')).mode & 0o7777, 0o600);
    const list = execFileSync('tar', ['-tf', at('first.tar')], { encoding: 'utf8' }).split('\n');
    for (const name of [
      'config.dump',
      'spec.dump',
      'checkpoint/pstree.img',
      'checkpoint/seccomp.img',
      'rootfs-diff.tar',
      'container.log',
      'stats-dump',
      'dump.log',
    ])
      assert.ok(list.includes(name), name);
    const out = join(folder, 'out');
    mkdirSync(out);
    execFileSync('tar', ['-xf', at('first.tar'), '-C', out]);
    const pages = readdirSync(join(out, 'checkpoint')).filter((name) => name.startsWith('pages-'));
    assert.ok(pages.some((name) => readFileSync(join(out, 'checkpoint', name)).includes('in-the-memory')));
    assert.equal(
      execFileSync('tar', ['-xOf', join(out, 'rootfs-diff.tar'), './tmp/kept'], { encoding: 'utf8' }),
      'kept\n',
    );
    assert.deepEqual(JSON.parse(readFileSync(join(out, 'deleted.files'), 'utf8')), ['etc/deleted']);
    const dump = JSON.parse(readFileSync(join(out, 'config.dump'), 'utf8')) as Record<string, string>;
    assert.equal(dump['id'], id);
    assert.equal(dump['name'], 'counter');
    await expectCounting(before);
    expectNothingLeft();
  });

  it('never replace a file, follow a link, or leave the allowed folders', async () => {
    writeFileSync(at('there.tar'), 'there');
    symlinkSync(join(folder, 'elsewhere'), at('link.tar'));
    assert.equal((await failureOf(write(at('there.tar')))).kind, 'already-exists');
    assert.equal((await failureOf(write(at('link.tar')))).kind, 'already-exists');
    for (const bad of [
      '',
      'x.tar',
      at('../x.tar'),
      `${folder}/x.tar`,
      at('open/x.tar'),
      at('none/x.tar'),
      at('.portcullis-checkpoint-x'),
    ])
      assert.equal((await failureOf(write(bad))).kind, 'invalid', bad);
    assert.equal(readFileSync(at('there.tar'), 'utf8'), 'there');
    assert.ok(!existsSync(join(folder, 'elsewhere')));
    expectNothingLeft();
  });

  it('are refused for crun, for a container that does not run, and for more memory than allowed', async () => {
    const other = await runPod(stage, 'other', {}, 'crun');
    const ofCrun = await runContainer(stage, other, { image, command: ['sleep', '600'] });
    assert.match((await failureOf(write(at('crun.tar'), ofCrun))).message, /only runc writes checkpoints/);
    const large = await runContainer(stage, pod, {
      name: 'large',
      image,
      command: [
        'sh',
        '-c',
        's=0123456789abcdef; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22; do s=$s$s; done; echo done; while true; do sleep 1; done',
      ],
    });
    const log = join(pod.config.logDirectory ?? '', 'large/0.log');
    for (let waited = 0; waited < 60_000 && !readFileSync(log, 'utf8').includes('done'); waited += 500)
      await pause(500);
    assert.match(
      (await failureOf(write(at('large.tar'), large))).message,
      /bytes of memory, and the maximum is/,
    );
    await stage.daemon.cri.runtime.stopContainer({ containerId: large, timeout: 0 });
    assert.equal((await failureOf(write(at('large.tar'), large))).kind, 'precondition');
    assert.ok(!existsSync(at('large.tar')));
  });

  it('end at their time limit, and the container continues', async () => {
    const before = count();
    assert.equal((await failureOf(write(at('late.tar'), id, 1))).kind, 'deadline');
    assert.ok(!existsSync(at('late.tar')));
    await expectCounting(before);
    expectNothingLeft();
  });

  it('are complete or absent when criu is killed at any moment, and the container continues', async () => {
    let failed = 0;
    // runc also starts criu to ask for its version.
    for (const delay of [0, 600, 1_200, 2_000, 3_000, 4_500]) {
      const before = count();
      const name = `killed-${delay}.tar`;
      const written = write(at(name)).then(
        () => undefined,
        (cause: unknown) => String(cause),
      );
      for (let waited = 0; waited < 60_000 && crius().length === 0; waited += 20) await pause(20);
      await pause(delay);
      for (const pid of crius()) kill(pid);
      const failure = await written;
      assert.equal(existsSync(at(name)), failure === undefined);
      if (failure !== undefined) {
        failed += 1;
        assert.match(failure, /could not write its processes/);
      }
      await expectCounting(before);
      expectNothingLeft();
    }
    assert.ok(failed > 0, 'criu was never killed while it wrote');
  });

  it('leave nothing when the daemon is killed meanwhile, and the container continues', async () => {
    const before = count();
    const cut = write(at('cut.tar')).catch(() => undefined);
    for (let waited = 0; waited < 60_000 && crius().length === 0; waited += 20) await pause(20);
    await stage.restart({ kill: true });
    await cut;
    assert.ok(!existsSync(at('cut.tar')));
    await expectCounting(before);
    expectNothingLeft();
    await write(at('again.tar'));
    assert.ok(existsSync(at('again.tar')));
  });
});
