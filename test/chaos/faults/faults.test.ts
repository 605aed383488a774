import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createRandom } from '../../fixtures/random.ts';
import { drawFault, errorsOf } from './kinds.ts';
import { createFaultControl, readFault, writeFault } from './orders.ts';
import type { Fault, FaultControl } from './orders.ts';

const program = join(import.meta.dirname, 'program.fixture.ts');

describe('a fault point', () => {
  let folder = '';
  let control: FaultControl;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-faults-'));
    control = createFaultControl(join(folder, 'orders'));
  });
  after(() => rmSync(folder, { recursive: true }));

  /** Runs one act of the program, in its own mount namespace. */
  function run(
    act: string,
    fault?: string,
  ): {
    readonly status: number | null;
    readonly signal: string | null;
    readonly text: string;
    readonly ms: number;
  } {
    rmSync(join(folder, 'work'), { recursive: true, force: true });
    mkdirSync(join(folder, 'work'));
    control.give(fault === undefined ? { mode: 'record' } : { mode: 'fault', fault: readFault(fault) });
    const begin = performance.now();
    const { status, signal, stdout, stderr } = spawnSync(
      'unshare',
      ['--mount', process.execPath, program, act, join(folder, 'work')],
      {
        encoding: 'utf8',
        env: { ...process.env, ...control.environment },
      },
    );
    return { status, signal, text: (stdout + stderr).trim(), ms: performance.now() - begin };
  }
  const written = (): string =>
    existsSync(join(folder, 'work/file')) ? readFileSync(join(folder, 'work/file'), 'utf8') : '';

  for (const [act, point, error, seen] of [
    ['promise', 'fs.writeFile', 'ENOSPC', 'ENOSPC'],
    ['sync', 'fs.writeFile', 'EIO', 'EIO'],
    ['handle', 'fs.sync', 'EIO', 'EIO'],
    ['open', 'fs.open', 'EMFILE', 'EMFILE'],
    ['look', 'fs.openToRead', 'ENFILE', 'ENFILE'],
    ['readdir', 'fs.readdir', 'EMFILE', 'EMFILE'],
    ['stat', 'fs.stat', 'EIO', 'EIO'],
    ['kernel', 'open', 'EMFILE', 'KERNEL_EMFILE'],
    ['spawn', 'spawn', 'EMFILE', 'EMFILE'],
    ['posix_spawn', 'posix_spawn', 'ENOMEM', 'KERNEL_ENOMEM'],
    ['mount', 'mount', 'ENOSPC', 'KERNEL_ENOSPC'],
    ['netlink', 'netlink.send', 'ENOBUFS', 'KERNEL_ENOBUFS'],
    ['database', 'sqlite.COMMIT', '13', 'STORAGE_DISK_FULL'],
  ] as const)
    it(`${act}: ${point} fails with ${error} once, and never without an order`, () => {
      assert.equal(run(act).text, 'done');
      assert.ok(
        control.hits().some((hit) => hit.point === point),
        'the point is recorded',
      );
      const thread = act === 'database' ? 'writer.worker' : 'main';
      assert.equal(run(act, `${thread}/${point}#1=error:${error}`).text, seen);
      assert.ok(control.hasFired());
      assert.equal(run(act, `${thread}/${point}#1000=error:${error}`).text, 'done');
      assert.ok(!control.hasFired());
    });

  it('fails after the effect', () => {
    assert.equal(run('promise', 'main/fs.writeFile#1=error:EIO').text, 'EIO');
    assert.equal(written(), '');
    assert.equal(run('promise', 'main/fs.writeFile#1=after:EIO').text, 'EIO');
    assert.equal(written(), 'content');
    assert.equal(run('netlink', 'main/netlink.send#1=after:ENOBUFS').text, 'KERNEL_ENOBUFS');
  });

  it('is late', () => {
    const { text, ms } = run('sync', 'main/fs.writeFile#1=delay:2000');
    assert.equal(text, 'done');
    assert.ok(ms >= 2_000, `${ms} ms`);
  });

  it('ends the process before the effect and after it', () => {
    for (const [kind, content] of [
      ['kill', ''],
      ['kill-after', 'content'],
    ] as const) {
      assert.equal(run('sync', `main/fs.writeFile#1=${kind}`).signal, 'SIGKILL');
      assert.equal(written(), content);
    }
  });

  it('ends a Worker, at a write and when it receives a message', () => {
    assert.equal(run('worker').text, 'done');
    for (const fault of [
      'program.worker/message#1=end',
      'program.worker/fs.writeFile#1=end',
      'program.worker/fs.writeFile#1=end-after',
    ]) {
      assert.equal(run('worker', fault).text, 'the Worker ended with 1', fault);
      assert.equal(written(), fault.endsWith('after') ? 'content' : '');
    }
  });

  it('is drawn by a seed, and its text form is parsed', () => {
    const recorded = Object.keys(errorsOf).flatMap((point) =>
      ['main', 'writer.worker'].map((thread) => ({ thread, point, subject: '' })),
    );
    const draw = (seed: number): Fault[] => {
      const random = createRandom(seed);
      return Array.from({ length: 500 }, () => drawFault(random, recorded));
    };
    assert.deepEqual(draw(7), draw(7));
    assert.notDeepEqual(draw(7), draw(8));
    for (const fault of draw(7)) assert.deepEqual(readFault(writeFault(fault)), fault);
    assert.deepEqual(
      new Set(draw(7).map(({ kind }) => kind)),
      new Set(['error', 'after', 'delay', 'end', 'end-after', 'kill', 'kill-after']),
    );
    assert.throws(() => readFault('fs.open'), TypeError);
  });
});
