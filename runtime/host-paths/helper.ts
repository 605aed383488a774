import { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { parseJson } from '../../base/json/index.ts';
import { errorFromJson, reasonOf } from '../../base/errors/index.ts';
import type { SerialisedError } from '../../base/errors/index.ts';
import { closeFd, openPipes, writeFd } from '../../base/kernel/index.ts';
import { workerFile } from '../../base/process/index.ts';
import type { Child, StartProgram } from '../../base/reactor/index.ts';
import type { LookUps } from './look-ups.ts';

export interface Question {
  readonly call: keyof LookUps;
  readonly values: readonly unknown[];
}

export type Reply =
  | { readonly value: unknown }
  | { readonly failure: SerialisedError }
  | { readonly why: string; readonly code?: string };

/** A process that performs look-ups, one question at a time. */
export interface Helper {
  /** Resolves when the process accepts questions. @throws when it ended before that */
  readonly ready: Promise<void>;
  readonly exited: Promise<unknown>;
  /** @throws the error of the look-up; Error when the process ends before it answers */
  ask(question: Question): Promise<unknown>;
  kill(): void;
}

const SIGKILL = 9;

/** @throws PortcullisError when the process cannot be started */
export async function startHelper(startProgram: StartProgram): Promise<Helper> {
  const [questions, answers] = openPipes();
  let child: Child;
  try {
    child = await startProgram({
      path: process.execPath,
      argv: [
        'portcullis-look-up',
        '--max-semi-space-size=1',
        '--single-threaded-gc',
        workerFile(import.meta.url, './look-up.worker.ts'),
      ],
      env: { PATH: process.env['PATH'], NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'] },
      descriptors: [questions.read, answers.write, 2],
    });
  } catch (cause) {
    for (const fd of [questions.write, answers.read]) closeFd(fd);
    throw cause;
  } finally {
    for (const fd of [questions.read, answers.write]) closeFd(fd);
  }
  let isGone = false;
  const opened = Promise.withResolvers<void>();
  let waiting = Promise.withResolvers<unknown>();
  // A caller that does not wait needs no rejection.
  for (const { promise } of [opened, waiting]) promise.catch(() => undefined);
  const socket = new Socket({ fd: answers.read, readable: true, writable: false });
  socket.unref();
  socket.on('error', () => undefined);
  const hear = (line: string): void => {
    let reply: Reply | 'ready';
    try {
      reply = parseJson(line) as Reply | 'ready';
    } catch {
      // The process was killed while it wrote this answer; `exited` then rejects the question.
      return;
    }
    if (reply === 'ready') opened.resolve();
    else if ('value' in reply) waiting.resolve(reply.value ?? undefined);
    else if ('failure' in reply) waiting.reject(errorFromJson(reply.failure));
    else waiting.reject(Object.assign(new Error(reply.why), { code: reply.code }));
  };
  createInterface({ input: socket }).on('line', hear);
  void child.exited.then(() => {
    const gone = new Error('the process that looked up the path has ended');
    isGone = true;
    opened.reject(gone);
    waiting.reject(gone);
    closeFd(questions.write);
    socket.destroy();
  });
  return {
    ready: opened.promise,
    exited: child.exited,
    ask: (question) => {
      waiting = Promise.withResolvers();
      try {
        // Its descriptor number may belong to another file by now.
        if (isGone) throw new Error('the look-up process has ended');
        writeFd(questions.write, Buffer.from(`${JSON.stringify(question)}\n`));
      } catch (cause) {
        waiting.reject(new Error(reasonOf(cause)));
      }
      return waiting.promise;
    },
    kill: () => child.kill(SIGKILL),
  };
}
