import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { connectThread, keepThread } from './index.ts';
import type { Calls, Owner, Settings } from './thread.worker.fixture.ts';

const blame = {
  code: 'TEST_LOST',
  kind: 'unavailable',
  attempted: 'ask the thread',
  on: '',
  fix: 'try again',
} as const;
const start = (settings: Settings = {}): Worker =>
  new Worker(new URL('./thread.worker.fixture.ts', import.meta.url), { workerData: settings });

function owner(): { offer: Owner; logged: string[] } {
  const logged: string[] = [];
  return { logged, offer: { greet: (name) => `hello ${name}`, log: (message) => void logged.push(message) } };
}

async function until(what: () => boolean): Promise<void> {
  while (!what()) await sleep(5);
}

describe('a thread', () => {
  it('is called by name from both sides, and closes after pending calls are answered', async () => {
    const { offer, logged } = owner();
    const thread = connectThread<Calls>(start({ opening: 'asks' }), { offer, blame });
    // This also works before the thread is open.
    assert.deepEqual(await Promise.all([thread.call('double', 4), thread.call('through', 'you')]), [
      8,
      'hello you',
    ]);
    await thread.started;
    assert.deepEqual(logged, ['hello opening']);
    await thread.ping();
    const slow = thread.call('slow', 50);
    const closed = thread.close();
    await assert.rejects(thread.call('double', 1), { code: 'TEST_LOST', message: /it is closed/ });
    assert.equal(await slow, 'late');
    await closed;
    assert.equal((await thread.ended).code, 'TEST_LOST');
    await thread.close();
  });

  it('reports the failures of its functions', async () => {
    const thread = connectThread<Calls>(start(), { blame });
    await assert.rejects(thread.call('fail', 'ours'), {
      code: 'TEST_OURS',
      message: /it was asked to; look/,
    });
    await assert.rejects(thread.call('fail', 'other'), {
      code: 'TEST_THREAD',
      message: /^call fail: too far/,
    });
    await assert.rejects(thread.call('fail', 'uncopied'), {
      code: 'TEST_THREAD',
      message: /could not be cloned/,
    });
    await assert.rejects(thread.call('double', (() => undefined) as never), { name: 'DataCloneError' });
    await assert.rejects((thread.call as (name: string) => Promise<unknown>)('toString'), {
      code: 'TEST_THREAD',
      message: /no call toString/,
    });
    await assert.rejects(thread.call('through', 'nobody'), { code: 'TEST_LOST', message: /no call greet/ });
    assert.equal(await thread.call('double', 2), 4);
    await thread.close();
  });

  it('delivers the answers that it sent before it failed', async () => {
    const threads = Array.from({ length: 8 }, () => connectThread<Calls>(start(), { blame }));
    await Promise.all(threads.map(({ started }) => started));
    await Promise.all(
      threads.map((thread) => assert.rejects(thread.call('failAndDie'), { code: 'TEST_OURS' })),
    );
    for (const thread of threads) assert.match((await thread.ended).message, /it was asked to die/);
  });

  for (const [opening, expected] of [
    ['fails', { code: 'TEST_OPENING' }],
    ['throws', { code: 'TEST_LOST', message: /its module does not load/ }],
  ] as const) {
    it(`reports why its opening ${opening}, to all callers`, async () => {
      const thread = connectThread<Calls>(start({ opening }), { blame });
      const asked = assert.rejects(thread.call('double', 1), expected);
      await assert.rejects(thread.started, expected);
      await asked;
      await assert.rejects(thread.call('double', 1), expected);
      await thread.ended;
      await thread.close();
    });
  }

  it('is ended if it hangs, during its opening and later', async () => {
    const opening = connectThread<Calls>(start({ opening: 'never' }), { blame });
    await opening.close();
    const working = connectThread<Calls>(start(), { blame, closeMs: 20 });
    await working.started;
    const never = assert.rejects(working.call('slow', 600_000), {
      code: 'TEST_LOST',
      message: /its thread has ended/,
    });
    await working.close();
    await never;
  });

  it('keeps the process alive only during a call', () => {
    const program = `
      import { Worker } from 'node:worker_threads';
      import { connectThread } from ${JSON.stringify(import.meta.resolve('./index.ts'))};
      const worker = new Worker(new URL(${JSON.stringify(import.meta.resolve('./thread.worker.fixture.ts'))}), { workerData: {}, execArgv: [] });
      const thread = connectThread(worker, { blame: ${JSON.stringify(blame)} });
      await thread.started;
      process.stdout.write(await thread.call('slow', 50));`;
    const { stdout, status } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
      encoding: 'utf8',
      timeout: 60_000,
    });
    assert.deepEqual([stdout, status], ['late', 0]);
  });
});

describe('a thread that is kept', () => {
  it('is started again when it is lost; until then calls fail with the reason', async () => {
    const { offer } = owner();
    const lost: string[] = [];
    let starts = 0;
    const thread = keepThread<Calls>(() => (++starts, start()), {
      offer,
      blame,
      againMs: 50,
      onLost: ({ failure }) => lost.push(failure.why),
    });
    await thread.started;
    for (const time of [1, 2]) {
      const slow = assert.rejects(thread.call('slow', 600_000), {
        code: 'TEST_LOST',
        message: /it was asked to die/,
      });
      thread.notify('die');
      await slow;
      await assert.rejects(thread.call('double', 1), { code: 'TEST_LOST', message: /it was asked to die/ });
      await until(() => starts === time + 1);
      assert.equal(await thread.call('double', 21), 42);
    }
    assert.deepEqual(lost, Array(2).fill('its thread failed: it was asked to die'));
    await thread.close();
    await sleep(100);
    assert.equal(starts, 3);
  });

  it('is reported once while it cannot open for the same reason, and opens when it can', async () => {
    const lost: string[] = [];
    let starts = 0;
    const thread = keepThread<Calls>(() => start(++starts < 4 ? { opening: 'fails' } : {}), {
      blame,
      againMs: 5,
      onLost: ({ code }) => lost.push(code),
    });
    await assert.rejects(thread.started, { code: 'TEST_OPENING' });
    await until(() => starts === 4);
    assert.equal(await thread.call('double', 2), 4);
    assert.deepEqual(lost, ['TEST_OPENING']);
    await thread.close();
  });

  it('is not started again if it is closed as soon as its first start failed', async () => {
    let starts = 0;
    const lost: string[] = [];
    const thread = keepThread<Calls>(() => (++starts, start({ opening: 'throws' })), {
      blame,
      againMs: 1,
      onLost: ({ code }) => lost.push(code),
    });
    await assert.rejects(thread.started, { code: 'TEST_LOST' });
    await thread.close();
    await sleep(50);
    assert.equal(starts, 1);
    // The loss is reported if the thread has exited before it was closed.
    assert.ok(lost.length <= 1, lost.join());
  });
});
