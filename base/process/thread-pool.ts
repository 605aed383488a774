import type { Worker } from 'node:worker_threads';
import { PortcullisError } from '../errors/index.ts';
import { connectThread } from './thread.ts';
import type { Thread } from './thread.ts';
import type { Blame, Caller, Offer } from './exchange.ts';

/**
 * Threads that answer questions, started as they are needed and ended when none comes for a while. The time that a question may run is kept
 * here, outside the threads: one that overruns it ends its thread, and only that question fails. Questions about different subjects never
 * share a thread at one time, so that what one subject does holds up no other.
 */
export interface ThreadPool<Theirs extends Offer, Memory> {
  /**
   * @param subject what the question is about, such as a service: its questions go to one thread, in their order
   * @param ask puts the question to a thread. It is called again, with another thread, when the thread was ended by another question.
   * @throws what `ask` throws; PortcullisError with the pool's `blame` when the question overran, when it ended its thread, or when the pool was closed
   */
  ask<T>(subject: string, ask: (caller: Caller<Theirs>, memory: Memory) => Promise<T>): Promise<T>;
  /** Ends the threads; what was asked fails. A later question starts another thread. */
  close(): Promise<void>;
}

export interface ThreadPoolOptions<Memory> {
  /** Begins a Worker that serves by `serveThread`. */
  readonly start: () => Worker;
  /** What the owner remembers of one thread, such as what it was sent already. */
  readonly memory: () => Memory;
  /** What is said of a question without an answer. */
  readonly blame: Blame;
  /** Threads at one time. */
  readonly most: number;
  /** Questions of one subject that a thread has at one time; 1 unless told. */
  readonly atOnce?: number;
  /** Milliseconds that a question may run in an open thread. */
  readonly deadlineMs: number;
  /** Milliseconds that a thread may take to open; a minute unless told. */
  readonly openMs?: number;
  /** Milliseconds after which an unused thread is ended. */
  readonly idleMs: number;
}

interface Question<Theirs extends Offer, Memory> {
  readonly subject: string;
  readonly put: (caller: Caller<Theirs>, memory: Memory) => Promise<unknown>;
  readonly settle: PromiseWithResolvers<unknown>;
  /** It was in a thread that was lost with several questions: it runs by itself now, so that the one to blame is known. */
  alone: boolean;
}

interface Member<Theirs extends Offer, Memory> {
  readonly thread: Thread<Theirs>;
  readonly memory: Memory;
  readonly running: Set<Question<Theirs, Memory>>;
  /** Of the questions that it has, or had last. */
  subject: string;
  idle: NodeJS.Timeout | undefined;
  end(): Promise<unknown>;
}

/** The threads start with the first question. Whoever makes a pool closes it. */
export function createThreadPool<Theirs extends Offer, Memory>(options: ThreadPoolOptions<Memory>): ThreadPool<Theirs, Memory> {
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

  /** What a lost thread was asked is asked again, one question at a time; one that had the thread to itself has ended it, and fails. */
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
    // How long a thread takes to load is no fault of the question.
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
      // The calls of a thread that ends fail before its end is reported; that decides what becomes of the question.
      await new Promise(setImmediate);
      if (isLost()) return;
      question.settle.reject(thrown);
    } finally {
      clearTimeout(late);
    }
    member.running.delete(question);
    if (member.running.size === 0 && members.has(member)) member.idle = setTimeout(() => void member.end(), idleMs).unref();
    dispatch();
  };

  /** @returns the thread for a question; `own`: that of its subject, later; `none`: there is none for now */
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
      // Nobody overtakes who waits for a thread: one that always has questions of one subject would never be free.
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
