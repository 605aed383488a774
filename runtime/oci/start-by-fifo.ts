import { constants } from 'node:fs';
import { open, readFile, unlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { PortcullisError } from '../../base/errors/index.ts';

/**
 * Does what `crun start` does: the first process waits at a FIFO, which is removed and then written to.
 * Afterwards, the absence of the FIFO means `running`. This only saves running the program, which takes a
 * tenth of a pod's start. (docs/decisions/0022-runtimes-run-from-sealed-memory.md.)
 * @param dir crun's folder for the container, below `--root`
 * @throws PortcullisError RUNTIME_START_FAILED when the first process ends meanwhile
 * @returns false when the program must start the container: it has hooks, or no process waits, and the
 * program reports the reason
 */
export async function startByFifo(dir: string): Promise<boolean> {
  const fifo = join(dir, 'exec.fifo');
  const spec = await readFile(join(dir, 'config.json'), 'utf8').catch(() => undefined);
  if (spec === undefined || spec.includes('"hooks"')) return false;
  // Without a reader, this open fails instead of waiting.
  const gate = await open(fifo, constants.O_WRONLY | constants.O_NONBLOCK).catch(() => undefined);
  if (gate === undefined) return false;
  try {
    await unlink(fifo);
    await gate.write(Buffer.alloc(1));
    return true;
  } catch (cause) {
    throw isBrokenPipe(cause) ? endedBefore(dir) : cause;
  } finally {
    await gate.close();
  }
}

function isBrokenPipe(thrown: unknown): boolean {
  return thrown instanceof Error && 'code' in thrown && thrown.code === 'EPIPE';
}

function endedBefore(dir: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_START_FAILED',
    kind: 'unavailable',
    attempted: 'start container',
    on: basename(dir).slice(0, 13),
    why: 'its first process ended before it was started',
    fix: 'create the container again; the kernel log shows what killed the process, such as a lack of memory',
  });
}
