import type { Worker } from 'node:worker_threads';
import { PortcullisError } from '../errors/index.ts';
import { connectThread } from './thread.ts';
import type { Thread } from './thread.ts';
import type { Blame, Caller, Offer } from './exchange.ts';

/**
 * A pool of threads that answer questions. Threads start when they are needed and end when they are idle for
 * a while. The pool measures the time of a question outside the threads. A question that exceeds its deadline
 * ends its thread, and only that question fails. Questions about different subjects never share a thread at
 * the same time, so that one subject cannot delay another.
 */
export interface ThreadPool<Theirs extends Offer, Memory> {
  /**
   * @param subject what the question is about, such as a service. All questions about a subject go to one
   * thread, in order.
   * @param ask sends the question to a thread. It is called again, with another thread, if another question
   * caused its thread to end.
   * @throws the error that `ask` throws. PortcullisError with the pool's `blame` if the question exceeded its
   * deadline, if it caused its thread to end, or if the pool was closed
   */
  ask<T>(subject: string, ask: (caller: Caller<Theirs>, memory: Memory) => Promise<T>): Promise<T>;
  /** Ends the threads. Pending questions fail. A later question starts another thread. */
  close(): Promise<void>;
}

export interface ThreadPoolOptions<Memory> {
  /** Starts a Worker that serves with `serveThread`. */
  readonly start: () => Worker;
  /** Creates the owner's memory about one thread, such as which data it was sent already. */
  readonly memory: () => Memory;
  /** Describes a question that gets no answer. */
  readonly blame: Blame;
  /** Maximum number of threads at a time. */
  readonly most: number;
  /** Maximum number of questions about one subject that a thread handles at a time. Default: 1. */
  readonly atOnce?: number;
  /** Milliseconds that a question may run in an open thread. */
  readonly deadlineMs: number;
  /**
   * Milliseconds that a thread may take to open, and that a question waits while the kernel has no thread for
   * it (EAGAIN). Default: one minute.
   */
  readonly openMs?: number;
  /** Milliseconds after which an unused thread is ended. */
  readonly idleMs: number;
}

interface Question<Theirs extends Offer, Memory> {
  readonly subject: string;
  readonly put: (caller: Caller<Theirs>, memory: Memory) => Promise<unknown>;
  readonly settle: PromiseWithResolvers<unknown>;
  /**
   * The question was in a thread that was lost with several questions. It now runs alone, to identify the
   * question that caused the loss.
   */
  alone: boolean;
  /** Until when it waits for a thread that the kernel does not have now, of `performance.now()`. */
  startBy: number;
}

interface Member<Theirs extends Offer, Memory> {
  readonly thread: Thread<Theirs>;
  readonly memory: Memory;
  readonly running: Set<Question<Theirs, Memory>>;
  /** The subject of the questions that the thread has, or had last. */
  subject: string;
  idle: NodeJS.Timeout | undefined;
  end(): Promise<unknown>;
}

/** How long to wait until a thread is tried again, in ms. Doubles up to the longer one. */
const [firstWaitMs, longestWaitMs] = [50, 2000];
/** The kernel had no thread for the Worker (EAGAIN). Another may end. */
const hadNoThread = ({ cause }: PortcullisError): boolean =>
  (cause as NodeJS.ErrnoException | undefined)?.code === 'ERR_WORKER_INIT_FAILED';

/** The time in which no thread is started, because the kernel had none. */
function createThreadWait() {
  let again: NodeJS.Timeout | undefined;
  let waitMs = firstWaitMs;
  return {
    isOn: (): boolean => again !== undefined,
    begin(act: () => void): void {
      again ??= setTimeout(() => {
        again = undefined;
        act();
      }, waitMs);
      waitMs = Math.min(longestWaitMs, waitMs * 2);
    },
    /** A thread was started. */
    reset: (): void => void (waitMs = firstWaitMs),
    end: (): void => clearTimeout(again),
  };
}

/**
 * @returns the thread for a question among those that exist. `own`: the thread of its subject, later.
 * Undefined: no thread is idle
 */
function threadFor<Theirs extends Offer, Memory>(
  all: readonly Member<Theirs, Memory>[],
  { subject, alone }: Pick<Question<Theirs, Memory>, 'alone' | 'subject'>,
  atOnce: number,
): Member<Theirs, Memory> | 'own' | undefined {
  const own = all.find((member) => member.running.size > 0 && member.subject === subject);
  if (own !== undefined) {
    const isFull = alone || own.running.size >= atOnce || [...own.running].some((one) => one.alone);
    return isFull ? 'own' : own;
  }
  const idle = all.filter(({ running }) => running.size === 0);
  return idle.find((member) => member.subject === subject) ?? idle[0];
}

function putFirst<Item>(queue: Set<Item>, items: readonly Item[]): void {
  const later = [...queue];
  queue.clear();
  for (const item of [...items, ...later]) queue.add(item);
}

/** Creates the threads of a pool. @param lost called when a thread has ended */
function createMembers<Theirs extends Offer, Memory>(
  options: Pick<ThreadPoolOptions<Memory>, 'blame' | 'memory' | 'start'>,
  lost: (member: Member<Theirs, Memory>, error: PortcullisError) => void,
) {
  type Of = Member<Theirs, Memory>;
  const members = new Set<Of>();
  const ending = new Set<Promise<unknown>>();
  const start = (): Of => {
    const worker = options.start();
    const thread = connectThread<Theirs>(worker, { blame: options.blame });
    const member: Of = {
      ...{ thread, memory: options.memory(), running: new Set(), subject: '', idle: undefined },
      end() {
        clearTimeout(member.idle);
        members.delete(member);
        const ended = worker.terminate();
        ending.add(ended);
        void ended.finally(() => ending.delete(ended));
        return ended;
      },
    };
    members.add(member);
    void thread.ended.then((error) => lost(member, error));
    return member;
  };
  return { members, ending, start };
}

/**
 * Puts questions for which the kernel had no thread back at the head of the queue, until their time to open
 * one is over. While other threads exist, a queued question may wait for one of them for longer.
 */
function putBack<Asked extends Pick<Question<Offer, unknown>, 'settle' | 'startBy'>>(
  queue: Set<Asked>,
  lost: readonly Asked[],
  error: PortcullisError,
  hasThreads: boolean,
): void {
  const later = [...queue];
  queue.clear();
  for (const one of [...lost, ...later])
    if (performance.now() >= one.startBy && (!hasThreads || lost.includes(one))) one.settle.reject(error);
    else queue.add(one);
}

/** Creates a pool. The threads start with the first question. The caller that creates a pool closes it. */
export function createThreadPool<Theirs extends Offer, Memory>(
  options: ThreadPoolOptions<Memory>,
): ThreadPool<Theirs, Memory> {
  type Asked = Question<Theirs, Memory>;
  type Of = Member<Theirs, Memory>;
  const { blame, most, atOnce = 1, deadlineMs, openMs = 60_000, idleMs } = options;
  const queue = new Set<Asked>();
  const wait = createThreadWait();
  const failure = (why: string): PortcullisError => new PortcullisError({ ...blame, why });

  const { members, ending, start } = createMembers<Theirs, Memory>(options, (member, error) =>
    lose(member, error),
  );

  /**
   * Repeats the questions of a lost thread, one at a time. A question that was alone in the thread caused the
   * loss, and fails.
   */
  const lose = (member: Of, error: PortcullisError): void => {
    void member.end();
    const lost = [...member.running];
    member.running.clear();
    const [only, other] = lost;
    if (hadNoThread(error)) {
      putBack(queue, lost, error, members.size > 0);
      wait.begin(dispatch);
    } else if (only !== undefined && other === undefined) only.settle.reject(error);
    else
      putFirst(
        queue,
        lost.map((question) => Object.assign(question, { alone: true })),
      );
    dispatch();
  };

  const run = async (member: Of, question: Asked): Promise<void> => {
    const isLost = (): boolean => !member.running.has(question);
    const limit = (ms: number, what: string): NodeJS.Timeout =>
      setTimeout(() => lose(member, failure(`${what} within ${ms / 1000} s`)), ms);
    // The time that a thread takes to load does not count against the question.
    let late = limit(openMs, 'its thread did not open');
    try {
      await member.thread.started;
    } catch (thrown) {
      if (!isLost()) lose(member, thrown as PortcullisError);
      return;
    } finally {
      clearTimeout(late);
    }
    if (isLost()) return;
    wait.reset();
    late = limit(deadlineMs, 'there was no answer');
    try {
      const answer = await question.put(member.thread, member.memory);
      question.settle.resolve(answer);
    } catch (thrown) {
      // The calls of a thread that ends fail before its end is reported. Its end decides what happens to the
      // question.
      await new Promise(setImmediate);
      if (isLost()) return;
      question.settle.reject(thrown);
    } finally {
      clearTimeout(late);
    }
    member.running.delete(question);
    if (member.running.size === 0 && members.has(member))
      member.idle = setTimeout(() => void member.end(), idleMs).unref();
    dispatch();
  };

  /** Returns the thread for a question, or why it waits. `none`: no thread is available now. */
  const place = (question: Asked): Of | 'own' | 'none' =>
    threadFor([...members], question, atOnce) ?? (members.size < most && !wait.isOn() ? start() : 'none');

  const dispatch = (): void => {
    const held = new Set<string>();
    for (const question of queue) {
      if (held.has(question.subject)) continue;
      const member = place(question);
      // No question overtakes one that waits for a thread. Otherwise a thread that always has questions about
      // one subject would never become free.
      if (member === 'none') return;
      if (member === 'own') {
        held.add(question.subject);
        continue;
      }
      queue.delete(question);
      clearTimeout(member.idle);
      member.subject = question.subject;
      member.running.add(question);
      void run(member, question);
    }
  };

  return {
    ask<T>(subject: string, put: (caller: Caller<Theirs>, memory: Memory) => Promise<T>): Promise<T> {
      const settle = Promise.withResolvers<unknown>();
      queue.add({ subject, put, settle, alone: false, startBy: performance.now() + openMs });
      dispatch();
      return settle.promise as Promise<T>;
    },
    async close() {
      wait.end();
      const waiting = [...queue, ...[...members].flatMap(({ running }) => [...running])];
      queue.clear();
      for (const { running } of members) running.clear();
      for (const { settle } of waiting) settle.reject(failure('it was closed'));
      for (const member of members) void member.end();
      await Promise.all(ending);
    },
  };
}
