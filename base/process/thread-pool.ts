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
  /** Milliseconds that a thread may take to open. Default: one minute. */
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

/** Creates a pool. The threads start with the first question. The caller that creates a pool closes it. */
export function createThreadPool<Theirs extends Offer, Memory>(
  options: ThreadPoolOptions<Memory>,
): ThreadPool<Theirs, Memory> {
  type Asked = Question<Theirs, Memory>;
  type Of = Member<Theirs, Memory>;
  const { blame, most, atOnce = 1, deadlineMs, openMs = 60_000, idleMs } = options;
  const members = new Set<Of>();
  const ending = new Set<Promise<unknown>>();
  const queue = new Set<Asked>();
  const failure = (why: string): PortcullisError => new PortcullisError({ ...blame, why });

  const start = (): Of => {
    const worker = options.start();
    const thread = connectThread<Theirs>(worker, { blame });
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
    void thread.ended.then((error) => lose(member, error));
    return member;
  };

  /**
   * Repeats the questions of a lost thread, one at a time. A question that was alone in the thread caused the
   * loss, and fails.
   */
  const lose = (member: Of, error: PortcullisError): void => {
    void member.end();
    const lost = [...member.running];
    member.running.clear();
    const [only, other] = lost;
    if (only !== undefined && other === undefined) only.settle.reject(error);
    else {
      const later = [...queue];
      queue.clear();
      for (const question of lost) queue.add(Object.assign(question, { alone: true }));
      for (const question of later) queue.add(question);
    }
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

  /**
   * @returns the thread for a question. `own`: the thread of its subject, later. `none`: no thread is
   * available now
   */
  const place = ({ subject, alone }: Asked): Of | 'own' | 'none' => {
    const all = [...members];
    const own = all.find((member) => member.running.size > 0 && member.subject === subject);
    if (own !== undefined) {
      const isFull = alone || own.running.size >= atOnce || [...own.running].some((one) => one.alone);
      return isFull ? 'own' : own;
    }
    const idle = all.filter(({ running }) => running.size === 0);
    const found = idle.find((member) => member.subject === subject) ?? idle[0];
    return found ?? (members.size < most ? start() : 'none');
  };

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
      queue.add({ subject, put, settle, alone: false });
      dispatch();
      return settle.promise as Promise<T>;
    },
    async close() {
      const waiting = [...queue, ...[...members].flatMap(({ running }) => [...running])];
      queue.clear();
      for (const { running } of members) running.clear();
      for (const { settle } of waiting) settle.reject(failure('it was closed'));
      for (const member of members) void member.end();
      await Promise.all(ending);
    },
  };
}
