import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { asNobody } from '../../test/fixtures/as-nobody.ts';
import { createThreadPool } from './index.ts';
import type { ThreadPool } from './index.ts';
import type { Calls, Settings } from './thread.worker.fixture.ts';

const blame = {
  code: 'TEST_OVERDUE',
  kind: 'unavailable',
  attempted: 'ask the thread',
  on: '',
  fix: 'try again',
} as const;
/** A block longer than any deadline of these tests, also on a loaded machine. */
const forever = 600_000;

interface Limits {
  readonly most?: number;
  readonly atOnce?: number;
  readonly deadlineMs?: number;
  readonly idleMs?: number;
  readonly settings?: Settings;
}

let pool: ThreadPool<Calls, { asked: number }>;
let started = 0;
let running = 0;

function open({ settings = {}, ...limits }: Limits = {}): ThreadPool<Calls, { asked: number }> {
  started = 0;
  pool = createThreadPool<Calls, { asked: number }>({
    ...{ blame, memory: () => ({ asked: 0 }), most: 2, deadlineMs: 60_000, idleMs: 60_000, ...limits },
    start() {
      started += 1;
      running += 1;
      const worker = new Worker(new URL('./thread.worker.fixture.ts', import.meta.url), {
        workerData: settings,
      });
      worker.on('exit', () => (running -= 1));
      return worker;
    },
  });
  return pool;
}

const double = (subject: string, value: number): Promise<number> =>
  pool.ask(subject, (caller) => caller.call('double', value));
const block = (subject: string, ms = forever): Promise<string> =>
  pool.ask(subject, (caller) => caller.call('block', ms));

describe('a pool of threads', () => {
  afterEach(async () => {
    await pool.close();
    assert.equal(running, 0);
  });

  it('answers consecutive questions with one thread, and remembers what it sent to that thread', async () => {
    open();
    const counts: number[] = [];
    for (const subject of ['a', 'b', 'a'])
      await pool.ask(subject, async (caller, memory) => {
        counts.push((memory.asked += 1));
        await caller.call('double', 1);
      });
    assert.deepEqual([started, ...counts], [1, 1, 2, 3]);
  });

  it('ends a thread whose question exceeds its deadline: only that question fails, and another thread answers the rest', async () => {
    open({ most: 1, deadlineMs: 1500 });
    const hostile = block('a');
    const [refused, ...others] = await Promise.allSettled([
      hostile,
      double('a', 1),
      double('b', 2),
      double('c', 3),
    ]);
    assert.equal(
      refused.status === 'rejected' && String(refused.reason),
      'PortcullisError: ask the thread: there was no answer within 1.5 s; try again [TEST_OVERDUE]',
    );
    assert.deepEqual(
      others.map((other) => other.status === 'fulfilled' && other.value),
      [2, 4, 6],
    );
    assert.equal(started, 2);
  });

  it('measures only the time of the question itself, not its time in the queue', async () => {
    open({ most: 1, deadlineMs: 4000 });
    // Each takes less than the deadline, but all together take more.
    assert.deepEqual(
      await Promise.all(Array.from({ length: 4 }, () => block('a', 1500))),
      Array.from({ length: 4 }, () => 'blocked'),
    );
    assert.equal(started, 1);
  });

  it('answers about one subject while a question about another subject occupies its thread', async () => {
    open({ deadlineMs: forever });
    const hostile = block('a').catch((error: unknown) => error);
    // More questions about the same subject wait for its own thread, and take no other.
    const more = [block('a'), block('a')].map((one) => one.catch((error: unknown) => error));
    assert.deepEqual(await Promise.all([double('b', 1), double('c', 2), double('b', 3)]), [2, 4, 6]);
    assert.equal(started, 2);
    await pool.close();
    for (const error of await Promise.all([hostile, ...more])) assert.match(String(error), /it was closed/u);
  });

  it('finds which of several questions caused the loss of their thread by repeating each one alone', async () => {
    open({ atOnce: 8, deadlineMs: 2000 });
    await double('a', 0);
    const asked = [
      pool.ask('a', (caller) => caller.call('slow', 200)),
      block('a'),
      double('a', 4),
      double('a', 5),
    ];
    const outcomes = await Promise.allSettled(asked);
    assert.deepEqual(
      outcomes.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
    );
  });

  it('fails only the question that ends its thread', async () => {
    open({ atOnce: 8 });
    const [dies, ...rest] = await Promise.allSettled([
      pool.ask('a', async (caller) => {
        await caller.call('die');
        await caller.call('slow', forever);
      }),
      pool.ask('a', (caller) => caller.call('slow', 300)),
      double('a', 2),
    ]);
    assert.match(String(dies.status === 'rejected' && dies.reason), /it was asked to die/u);
    assert.deepEqual(
      rest.map(({ status }) => status),
      ['fulfilled', 'fulfilled'],
    );
  });

  it('reports an exception of a question, and keeps the thread', async () => {
    open();
    await assert.rejects(
      pool.ask('a', (caller) => caller.call('fail', 'ours')),
      { code: 'TEST_OURS' },
    );
    assert.equal(await double('a', 2), 4);
    assert.equal(started, 1);
  });

  it('fails the questions for threads that do not open', async () => {
    open({ settings: { opening: 'throws' }, atOnce: 4 });
    const outcomes = await Promise.allSettled([double('a', 1), double('a', 2), double('b', 3)]);
    for (const outcome of outcomes)
      assert.match(String(outcome.status === 'rejected' && outcome.reason), /its module does not load/u);
  });

  it('serves questions that wait for a thread before more of a subject that has one', async () => {
    open({ most: 1, atOnce: 2 });
    await double('a', 0);
    const order: string[] = [];
    const ask = (subject: string): Promise<unknown> =>
      pool.ask(subject, (caller) => caller.call('slow', 100)).then(() => order.push(subject));
    await Promise.all([ask('a'), ask('b'), ask('a')]);
    assert.deepEqual(order, ['a', 'b', 'a']);
  });

  it('ends an idle thread, and starts another one for the next question', async () => {
    open({ idleMs: 50 });
    await double('a', 1);
    while (running > 0) await sleep(20);
    assert.equal(await double('a', 2), 4);
    assert.equal(started, 2);
  });
});

function withoutThreads(freeAfterMs: number, openMs: number): readonly string[] {
  const [program, ...words] = asNobody;
  const fixture = join(import.meta.dirname, 'late-threads.fixture.ts');
  const args = [...words, process.execPath, fixture, String(freeAfterMs), String(openMs)];
  const { stdout, stderr, status } = spawnSync(program, args, { encoding: 'utf8', timeout: 100_000 });
  assert.deepEqual([status, stderr], [0, '']);
  return stdout.split('\n');
}

describe('a pool for which the kernel has no thread', () => {
  it('waits until it has one', () => assert.deepEqual(withoutThreads(1500, 90_000), ['2', '4', '6']));

  it('fails the questions with the reason when their time is over', () => {
    for (const outcome of withoutThreads(50_000, 800))
      assert.match(outcome, /no thread can be started.*EAGAIN.*\[TEST_LATE\]/u);
  });
});
