import { isPortcullisError } from '../../../base/errors/index.ts';
import type { EffectKind } from '../engine/faults.ts';
import { Gone, never } from '../engine/incarnation.ts';
import type { Incarnation } from '../engine/incarnation.ts';
import type { Scheduler } from '../engine/scheduler.ts';
import type { Report } from '../engine/history-events.ts';
import { thread } from '../engine/thread.ts';
import { systemError } from './disk.ts';
import type { Disk, File, Inode } from './disk.ts';

/** A mount of the simulated machine: the tree that it uses, which it keeps even if the names change. */
export interface Mount {
  readonly lowers: readonly Inode[];
  /** The user namespace whose ids its files show; absent: the host's. */
  readonly ids?: string;
  /** The source of a bind mount. */
  readonly source?: string;
}

/** The machine on which the store runs, as the stand-ins of Node's modules use it. */
export interface Machine {
  readonly scheduler: Scheduler;
  readonly report: Report;
  readonly disk: Disk;
  readonly mounts: Map<string, Mount>;
  readonly bootId: string;
  readonly life: Incarnation;
  /** Called when a layer's tree is used: mounted under its name, or as the base of an unpack. */
  readonly used: (tree: Inode | undefined, layer: string | undefined, by: string) => void;
  /** Called when an invariant does not hold. */
  readonly broken: (cause: unknown) => void;
}

let current: Machine | undefined;

/** Sets the machine that the product's system calls use from now on. */
export function useMachine(machine: Machine | undefined): void {
  current = machine;
}

/** Returns the current machine. @throws Error outside of a history */
export function machine(): Machine {
  if (current === undefined) throw new Error('no history is being played');
  return current;
}

/** Runs an effect on the disk and waits for it; it fails as Node's calls do. */
export async function call<T>(
  kind: EffectKind,
  syscall: string,
  path: string,
  ...parts: readonly [...(() => void)[], () => T]
): Promise<T> {
  const { life } = machine();
  if (inEndedThread()) return never();
  try {
    return await life.act(kind, `${syscall} ${shown(path)}`, ...parts);
  } catch (cause) {
    throw asSystemError(cause, syscall, path);
  }
}

/**
 * Writes a whole file, which may be cut off between its name and its bytes. @param isNew EEXIST when the file
 * exists
 */
export async function writeWhole(path: string, text: string, isNew: boolean): Promise<void> {
  const { disk } = machine();
  let file: File | undefined;
  await call(
    'write',
    'write',
    path,
    () => {
      file = disk.create(path, isNew);
    },
    () => {
      if (file !== undefined) disk.write(file, text);
    },
  );
}

/** Runs a synchronous call, such as those of a Worker. */
export function callSync<T>(kind: EffectKind, syscall: string, path: string, body: () => T): T {
  if (inEndedThread()) throw new Gone('the thread has ended');
  try {
    return machine().life.now(kind, `${syscall} ${shown(path)}`, body);
  } catch (cause) {
    throw asSystemError(cause, syscall, path);
  }
}

function inEndedThread(): boolean {
  return thread.getStore()?.hasEnded === true;
}

function asSystemError(cause: unknown, syscall: string, path: string): unknown {
  if (!isPortcullisError(cause) || cause.code !== 'SIMULATED_FAULT') return cause;
  return systemError(String(cause.failure.details?.['errno']), `simulated ${syscall}`, path);
}

/** Returns the path without the parts that differ from run to run. */
export function shown(path: string): string {
  return path
    .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, '…')
    .replace(/\.[0-9a-f]{12}\.tmp/g, '.….tmp')
    .replace(/[0-9a-f]{64}/g, (digest) => digest.slice(0, 6))
    .replace(`.${process.pid}.`, '.');
}
