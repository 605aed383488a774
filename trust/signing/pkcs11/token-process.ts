import { fork } from 'node:child_process';
import { once } from 'node:events';
import { PortcullisError, reasonOf } from '../../../base/errors/index.ts';
import { workerFile } from '../../../base/process/index.ts';
import { createSerialQueue } from '../../../base/queues/index.ts';
import type { Answer, Question } from './messages.ts';

/** The process that runs a PKCS #11 module. */
interface TokenProcess {
  /**
   * Sends one request at a time. @throws the error of `fail`, also where the module does not answer in time
   */
  readonly ask: (question: Question) => Promise<Answer>;
  /** Ends the process, whatever its module does. */
  readonly end: () => Promise<void>;
}

/** A process that the kernel does not let end, such as one that waits for a disk, is not waited for. */
const endMs = 2000;

/**
 * Starts the process. A thread cannot be ended while it loads the module from a file server that is dead, or
 * while a call of the module does not return; a process can.
 * @param patienceMs milliseconds that the module may take for one answer
 */
export function startToken(patienceMs: number, fail: (why: string) => PortcullisError): TokenProcess {
  const child = fork(workerFile(import.meta.url, './pkcs11.worker.ts'), [], {
    // For byte arrays. The PIN passes through this channel alone.
    serialization: 'advanced',
    execArgv: [],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  let gone: PortcullisError | undefined;
  const exited = new Promise<void>((resolve) => {
    const end = (why: string): void => {
      gone ??= fail(why);
      resolve();
    };
    child.once('exit', () => end('its module ended the process that it runs in'));
    child.on('error', (error) => end(`its process cannot be used: ${reasonOf(error)}`));
  });

  const exchange = async (question: Question): Promise<Answer> => {
    if (gone !== undefined) throw gone;
    const over = new AbortController();
    const late = setTimeout(() => over.abort(), patienceMs);
    const answered = once(child, 'message', { signal: over.signal });
    answered.catch(() => undefined);
    try {
      child.send(question);
      const [answer] = (await Promise.race([
        answered,
        exited.then(() => Promise.reject(gone ?? fail('it ended'))),
      ])) as [Answer];
      if ('problem' in answer) throw fail(answer.problem);
      return answer;
    } catch (error) {
      if (error instanceof PortcullisError) throw error;
      // Nothing else is asked of a module that does not answer.
      throw (gone ??= fail(
        over.signal.aborted ? `it does not answer within ${patienceMs / 1000} s` : reasonOf(error),
      ));
    } finally {
      clearTimeout(late);
      over.abort();
    }
  };

  const inTurn = createSerialQueue();
  return {
    ask: (question) => inTurn(() => exchange(question)),
    async end() {
      child.kill('SIGKILL');
      const patience = Promise.withResolvers<void>();
      const timer = setTimeout(patience.resolve, endMs);
      await Promise.race([exited, patience.promise]);
      clearTimeout(timer);
      if (child.connected) child.disconnect();
      child.unref();
    },
  };
}
