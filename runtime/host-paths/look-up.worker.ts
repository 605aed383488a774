import { createInterface } from 'node:readline';
import { errorToJson, isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import { lookUps } from './look-ups.ts';
import type { Question, Reply } from './helper.ts';

/*
 * A separate process, not a thread: a thread that waits for a dead file server cannot be ended, and would
 * block the exit of the daemon and its descriptors. Questions arrive as lines of JSON on descriptor 0; each
 * answer is a line on descriptor 1.
 */

const say = (reply: Reply | 'ready'): void => void process.stdout.write(`${JSON.stringify(reply)}\n`);

async function answer({ call, values }: Question): Promise<Reply> {
  try {
    const value = await (lookUps[call] as (...values: readonly unknown[]) => unknown)(...values);
    return { value: value ?? null };
  } catch (thrown) {
    if (isPortcullisError(thrown)) return { failure: errorToJson(thrown) };
    const { code } = thrown as NodeJS.ErrnoException;
    return { why: reasonOf(thrown), ...(code !== undefined && { code }) };
  }
}

const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => void answer(parseJson(line) as Question).then(say));
// The daemon has ended. Only SIGKILL ends the process even if a thread hangs in the kernel.
lines.on('close', () => process.kill(process.pid, 'SIGKILL'));
say('ready');
