import { createKeyedQueue } from '../../base/queues/index.ts';
import { checkpointFailed } from './errors.ts';

/** How long the callers of an operation wait. */
const answerMs = 10_000;

/** Why an operation was given up. */
export const unanswered = 'the file system of the archive does not answer';
/** A proposal to a user whose file system does not answer. */
export const askServer = 'check whether the server of the file system of the archive answers';

/** Operations in folders of archives, whose file systems may not answer, such as that of a file server. */
export interface BoundedFiles {
  /**
   * Runs an operation. Operations in one folder run one after another, so that a file system that does not
   * answer holds one thread of libuv's pool. They also run, in their order, when the caller has given up.
   * @param options.ms how long the caller waits, if this is longer than usual
   * @param options.undo undoes an operation that succeeded after the caller had given up
   * @throws PortcullisError RUNTIME_CHECKPOINT_FAILED (kind deadline), or the error of the operation
   */
  run<Value>(
    folder: string,
    operation: () => Promise<Value>,
    options?: { readonly ms?: number; readonly undo?: (value: Value) => Promise<void> },
  ): Promise<Value>;
}

/** Creates the queues of the folders. */
export function createBoundedFiles(): BoundedFiles {
  const queue = createKeyedQueue();
  return {
    run: async (folder, operation, { ms = 0, undo } = {}) => {
      let isLate = false;
      const done = queue.run(folder, async () => {
        const value = await operation();
        if (isLate) await undo?.(value);
        return value;
      });
      const limit = Promise.withResolvers<never>();
      const timer = setTimeout(
        () => {
          isLate = true;
          limit.reject(
            checkpointFailed(
              'RUNTIME_CHECKPOINT_FAILED',
              'deadline',
              { file: folder },
              unanswered,
              askServer,
            ),
          );
        },
        Math.max(ms, answerMs),
      );
      try {
        return await Promise.race([done, limit.promise]);
      } finally {
        clearTimeout(timer);
      }
    },
  };
}
