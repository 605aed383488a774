import { rm, symlink } from 'node:fs/promises';
import { basename } from 'node:path';
import { failure } from '../../base/errors/index.ts';
import { closeFd, openOutputs, openPipe, writeFd } from '../../base/kernel/index.ts';
import { join } from 'node:path';
import type { StartProgram } from '../../base/reactor/index.ts';
import type { EventSink } from './event-sink.ts';
import { parseStartAnswer } from './shim-record.ts';
import type { ShimAddress } from './shim-record.ts';
import { startParameters } from './start-messages.ts';
import { shimNamespace } from './task-api.ts';

export interface ShimProgram {
  readonly startProgram: StartProgram;
  /** Absolute path of the shim's program. */
  readonly path: string;
  /** The folder of the OCI runtime that the shim runs; empty: the shim looks in PATH. */
  readonly runtimeFolder: string;
  /** Where the shim sends its events. */
  readonly events: EventSink;
}

const startMs = 30_000;
const deleteMs = 60_000;
const answerLimit = 64 * 1024;
const SIGKILL = 9;

/**
 * Starts a shim in a bundle (containerd, core/runtime/v2/README.md, "Start"): its program is called with
 * `start`, leaves the shim running, and answers with the address.
 * @param bundle a folder with config.json, whose name is `id`
 * @throws PortcullisError SHIM_START_FAILED with the message of the shim, and the errors of its answer
 */
export async function startShim(shim: ShimProgram, id: string, bundle: string): Promise<ShimAddress> {
  await shim.events.ensure();
  // The shim writes its log to a FIFO of its bundle and waits for the reader. No reader outlives this daemon.
  await rm(join(bundle, 'log'), { force: true });
  await symlink('/dev/null', join(bundle, 'log'));
  const parameters = startParameters.encode({
    instanceId: id,
    namespace: shimNamespace,
    ttrpcAddress: shim.events.socket,
    grpcAddress: shim.events.socket,
  });
  const args = ['-id', id, 'start'];
  const first = await run(shim, args, bundle, parameters, startMs);
  // A shim of containerd 2.2 or older reads runtime options instead, and none are needed to start.
  const isLast = first.code === 0 || first.isLate;
  const last = isLast ? first : await run(shim, args, bundle, Buffer.alloc(0), startMs);
  const { code, stdout } = last;
  if (code !== 0) {
    const said = (first.stderr || last.stderr || stdout.toString('utf8')).trim().slice(0, 2_000);
    throw failure(
      'SHIM_START_FAILED',
      'internal',
      'start shim',
      shim.path,
      whyFailed(last, startMs, said),
      'correct the cause that the shim names, and check whether the programs that it starts are installed',
    );
  }
  return parseStartAnswer(stdout, shim.path);
}

/**
 * Removes what a task of a shim that has ended left: its program is called with `delete`, which kills the
 * processes of the task (containerd, core/runtime/v2/README.md, "Delete").
 * @throws PortcullisError SHIM_DELETE_FAILED
 */
export async function deleteDeadTask(shim: ShimProgram, id: string, bundle: string): Promise<void> {
  const args = ['-id', id, '-bundle', bundle, 'delete'];
  const end = await run(shim, args, bundle, Buffer.alloc(0), deleteMs);
  if (end.code === 0) return;
  throw failure(
    'SHIM_DELETE_FAILED',
    'internal',
    'remove the leftovers of a task with',
    shim.path,
    whyFailed(end, deleteMs, end.stderr.trim().slice(0, 2_000)),
    'correct the cause that the shim names, and repeat the removal',
  );
}

/** How a call of the shim's program ended. */
interface CallEnd {
  readonly code: number;
  readonly stdout: Buffer;
  readonly stderr: string;
  /** Whether it was killed because it did not end in time. */
  readonly isLate: boolean;
}

function whyFailed({ code, isLate }: CallEnd, timeoutMs: number, said: string): string {
  if (!isLate) return said || `it ended with code ${code}`;
  return `it did not end within ${timeoutMs / 1_000} s and was killed${said && `; it wrote: ${said}`}`;
}

async function run(
  { startProgram, path, runtimeFolder, events }: ShimProgram,
  args: readonly string[],
  cwd: string,
  input: Buffer,
  timeoutMs: number,
): Promise<CallEnd> {
  const [stdout, stderr] = openOutputs({ bytes: answerLimit }, { bytes: answerLimit });
  const stdin = openPipe();
  let timer: NodeJS.Timeout | undefined;
  let isLate = false;
  try {
    // It is far smaller than a pipe.
    writeFd(stdin.write, input);
    closeFd(stdin.write);
    const child = await startProgram({
      path,
      argv: [
        basename(path),
        '-namespace',
        shimNamespace,
        '-address',
        events.socket,
        '-publish-binary',
        '/bin/false',
        ...args,
      ],
      env: {
        PATH: [runtimeFolder, process.env['PATH']].filter((one) => one !== undefined && one !== '').join(':'),
        TTRPC_ADDRESS: events.socket,
        NAMESPACE: shimNamespace,
      },
      cwd,
      descriptors: [stdin.read, stdout.write, stderr.write],
    });
    stdout.closeWrite();
    stderr.closeWrite();
    timer = setTimeout(() => {
      isLate = true;
      child.kill(SIGKILL);
    }, timeoutMs);
    const code = await child.exited;
    // The shim that stays running may hold the pipes.
    await Promise.all([stdout.ended(20), stderr.ended(20)]);
    return { code, stdout: stdout.bytes(), stderr: stderr.bytes().toString('utf8'), isLate };
  } finally {
    clearTimeout(timer);
    closeFd(stdin.read);
    stdout.close();
    stderr.close();
  }
}
