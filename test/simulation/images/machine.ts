import { isPortcullisError } from '../../../base/errors/index.ts';
import type { EffectKind } from '../faults.ts';
import { Gone, never } from '../incarnation.ts';
import type { Incarnation } from '../incarnation.ts';
import type { Scheduler } from '../scheduler.ts';
import type { Tell } from '../tell.ts';
import { thread } from '../thread.ts';
import { systemError } from './disk.ts';
import type { Disk, File, Inode } from './disk.ts';

/** A mount of the simulated machine: what it stands on, which it holds whatever becomes of the names. */
export interface Mount {
  readonly lowers: readonly Inode[];
  /** The user namespace whose ids its files show; absent: the host's. */
  readonly ids?: string;
  /** Of a bind mount: what it shows. */
  readonly source?: string;
}

/** The machine on which the store runs, as the stand-ins of Node's modules reach it. */
export interface Machine {
  readonly scheduler: Scheduler;
  readonly tell: Tell;
  readonly disk: Disk;
  readonly mounts: Map<string, Mount>;
  readonly bootId: string;
  readonly life: Incarnation;
  /** A layer's tree is used: mounted under its name, or unpacked upon. */
  readonly used: (tree: Inode | undefined, layer: string | undefined, by: string) => void;
  /** An invariant does not hold. */
  readonly broken: (cause: unknown) => void;
}

let current: Machine | undefined;

/** What the product's calls of the system reach from now on. */
export function useMachine(machine: Machine | undefined): void {
  current = machine;
}

/** @throws Error outside of a history */
export function machine(): Machine {
  if (current === undefined) throw new Error('no history is being played');
  return current;
}

/** An effect on the disk that is waited for; it fails as Node's calls do. */
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

/** Writes a whole file, which may be cut off between its name and its bytes. @param isNew EEXIST when there is one */
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

/** A call that is not waited for, such as those of a Worker. */
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

/** Without what differs from run to run. */
export function shown(path: string): string {
  return path
    .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, '…')
    .replace(/\.[0-9a-f]{12}\.tmp/g, '.….tmp')
    .replace(/[0-9a-f]{64}/g, (digest) => digest.slice(0, 6))
    .replace(`.${process.pid}.`, '.');
}
