import { spawn } from 'node:child_process';

/** How long a file system may take to answer, as for the paths of pods (runtime/host-paths). */
const answerMs = 5_000;

/** Looks as the engine would: a file is opened and read, a folder is listed. Every answer is good. */
const script = `const fs = require('node:fs');
try {
  const path = process.argv[1];
  const stat = fs.statSync(path);
  if (stat.isDirectory()) fs.readdirSync(path);
  else if (stat.isFile()) fs.readSync(fs.openSync(path, 'r'), Buffer.alloc(1));
} catch {}`;

export interface Probe {
  /** Whether the file system answered in time. Never rejects. */
  readonly answered: Promise<boolean>;
  /** Resolves when the process is gone. The kernel may keep it while it waits for the file system. */
  readonly ended: Promise<void>;
}

/**
 * Looks a path up in a process of its own, which is killed if it takes too long: a thread that waits for a
 * file system cannot be ended.
 * @param root descriptor of the folder that is the root of the path; absent: the root of this process
 */
export function probePath(path: string, root: number | undefined): Probe {
  const place = root === undefined ? path : `/proc/self/fd/3/${path}`;
  const child = spawn(process.execPath, ['-e', script, '--', place], {
    stdio: root === undefined ? 'ignore' : ['ignore', 'ignore', 'ignore', root],
    env: {},
  });
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  const { promise: answered, resolve: answer } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => {
    answer(false);
    child.kill('SIGKILL');
    child.unref();
  }, answerMs);
  const settle = (isAnswered: boolean): void => {
    clearTimeout(timer);
    answer(isAnswered);
    end();
  };
  child.once('exit', (status) => settle(status === 0));
  // The process could not be started: nothing is known about the path.
  child.once('error', () => settle(false));
  return { answered, ended };
}
