import type { Worker } from 'node:worker_threads';
import { reasonOf } from '../../base/errors/index.ts';
import { createSerialQueue } from '../../base/queues/index.ts';
import type { ReadAnswer, ReadFile, Ready } from './messages.ts';

/** Reads files one after another in a Worker that lives while there is something to read. */
export interface FileReader<Reading extends object> {
  /**
   * Never rejects. A failure is reported as a problem of the file, or as the reason why the file was not
   * read.
   */
  read(file: ReadFile): Promise<ReadAnswer<Reading>>;
  close(): void;
}

/** A file of the largest size takes about 20 s on a slow machine. */
const deadlineMs = 120_000;
/**
 * Memory limit of the Worker: the maximum that a file of the largest size needs. A file that needs more ends
 * the Worker, which is reported as a problem of that file.
 */
export const readerLimits = { maxOldGenerationSizeMb: 1536 } as const;
/** The loaded modules take about 60 MB. */
const idleMs = 2_000;

/** `why`: what is wrong with the file; `failed`: why the file was not read. */
type Loss = { readonly why: string } | { readonly failed: string };

const notStarted = (why: string): Loss => ({ failed: `the thread that reads it did not start: ${why}` });

/** Creates a reader. @param make starts the Worker; it may throw */
export function createFileReader<Reading extends object>(make: () => Worker): FileReader<Reading> {
  let worker: Worker | undefined;
  let idle: NodeJS.Timeout | undefined;
  const inTurn = createSerialQueue();
  /** Settles the read of the one file in progress. */
  let settle: ((answer: ReadAnswer<Reading> | Loss) => void) | undefined;

  const end = (): void => {
    const ended = worker;
    worker = undefined;
    void ended?.terminate();
  };

  const start = (): Worker => {
    const started = make();
    let isReady = false;
    started.unref();
    const lost = (why: string): void => {
      if (worker === started) settle?.(isReady ? { why: `it cannot be read: ${why}` } : notStarted(why));
    };
    started.on('message', (answer: ReadAnswer<Reading> | Ready) => {
      if (answer === 'ready') isReady = true;
      else if (worker === started) settle?.(answer);
    });
    started.on('error', (error) => lost(reasonOf(error)));
    started.on('exit', () => lost('the thread that reads it ended'));
    return started;
  };

  const ask = (file: ReadFile): Promise<ReadAnswer<Reading>> =>
    new Promise((resolve) => {
      clearTimeout(idle);
      const deadline = setTimeout(
        () => settle?.({ why: `reading it took more than ${deadlineMs / 1000} s` }),
        deadlineMs,
      ).unref();
      settle = (answer) => {
        settle = undefined;
        clearTimeout(deadline);
        const { folder, name, stamp } = file;
        if ('stamp' in answer) {
          idle = setTimeout(end, idleMs).unref();
          return resolve(answer);
        }
        end();
        const reported =
          'failed' in answer ? answer : { result: { unreadable: [`${folder}/${name}:1:1: ${answer.why}`] } };
        resolve({ name, stamp, ...reported });
      };
      try {
        worker ??= start();
        worker.postMessage(file);
      } catch (thrown) {
        settle(notStarted(reasonOf(thrown)));
      }
    });

  return {
    read: (file) => inTurn(() => ask(file)),
    close() {
      clearTimeout(idle);
      end();
    },
  };
}
