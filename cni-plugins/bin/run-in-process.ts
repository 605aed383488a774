import { fstatSync, readSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { createLogger } from '../../base/log/index.ts';
import { openPluginEngine } from '../engine/index.ts';
import type { PluginEngine } from '../engine/index.ts';
import { answerCall, answerLost } from '../cni/index.ts';
import type { PluginAnswer } from '../cni/index.ts';
import { maxStdin, needsInput } from '../spec/call.ts';
import type { RawCall } from '../spec/call.ts';
import { writeCniError } from '../spec/cni-error.ts';
import { writeWhole } from './write-whole.ts';

/** Runs one call in this process, and ends the process. */
export async function runAlone(args: readonly string[]): Promise<never> {
  let engine: PluginEngine | undefined;
  let answer: PluginAnswer;
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: {
        data: { type: 'string', default: '/var/lib/portcullis' },
        lost: { type: 'boolean', default: false },
      },
      allowPositionals: true,
    });
    const opened = openPluginEngine({
      databasePath: join(values.data, 'network.db'),
      log: createLogger({ level: 'warn' }),
    });
    engine = opened;
    const call = readCallHere(basename(positionals[0] ?? ''));
    answer = values.lost
      ? await answerLost(call, opened.callPlugin)
      : await answerCall(call, {}, opened.callPlugin);
  } catch (thrown) {
    answer = {
      exitCode: 1,
      stdout: writeCniError({ code: 999, msg: thrown instanceof Error ? thrown.message : String(thrown) }),
      stderr: '',
    };
  }
  writeWhole(1, answer.stdout);
  writeWhole(2, answer.stderr);
  await engine?.close();
  process.exit(answer.exitCode);
}

/** Standard input is read only if the answer depends on it: a person at a terminal gives none. */
function readCallHere(name: string): RawCall {
  const environment = Object.fromEntries(
    Object.entries(process.env).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
  );
  const call = { name, environment, stdin: Buffer.alloc(0) };
  return needsInput(call) ? { ...call, stdin: readInput() } : call;
}

/** Reads one byte more than a configuration may have, so that a larger one is reported as too large. */
function readInput(): Buffer {
  const chunks: Buffer[] = [];
  for (let length = 0; length <= maxStdin;) {
    const chunk = Buffer.alloc(64 * 1024);
    const count = readSome(chunk);
    if (count === 0) break;
    chunks.push(chunk.subarray(0, count));
    length += count;
  }
  return Buffer.concat(chunks);
}

function readSome(chunk: Buffer): number {
  for (;;) {
    try {
      if (fstatSync(0).isDirectory()) return 0;
      return readSync(0, chunk);
    } catch (thrown) {
      const { code } = thrown as NodeJS.ErrnoException;
      if (code === 'EOF' || code === 'EBADF') return 0;
      if (code !== 'EAGAIN') throw thrown;
      Atomics.wait(pause, 0, 0, 1);
    }
  }
}

const pause = new Int32Array(new SharedArrayBuffer(4));
