import { readFile, readlink } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { meansGone } from '../../../base/errors/index.ts';
import { profilesOf, requireLoaded, unloaded } from './apparmor.ts';

/** How long a started process may take to execute its program. */
const patienceMs = 30_000;

/** A container whose first process waits for its start. */
export interface LabelledContainer {
  readonly id: string;
  /** The first process. */
  readonly pid: number;
  readonly label: string;
  /** Our profile in the label; undefined: the label has only a profile of the node. */
  readonly own: string | undefined;
}

/**
 * Checks before the start of a container that its AppArmor profiles are loaded.
 * @returns a check to call after the start: the program runs under our profile, which no exec leaves. The
 * profile may have been unloaded and loaded again since the creation: then it is listed, and the kernel runs
 * the program unconfined
 * @throws PortcullisError RUNTIME_APPARMOR_NOT_LOADED
 */
export async function expectLabel(
  container: LabelledContainer,
): Promise<(signal?: AbortSignal) => Promise<void>> {
  const { id, pid, label, own } = container;
  await requireLoaded(label, id);
  if (own === undefined || !profilesOf(label).includes(own)) return () => Promise.resolve();
  const runtime = await programOf(pid);
  return async (signal) => {
    const end = performance.now() + patienceMs;
    for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 50)) {
      signal?.throwIfAborted();
      // In this order: after the exec, the label is final.
      const program = await programOf(pid);
      const current = await labelOf(pid);
      // A process that was killed before its exec has the label of the runtime.
      if (program === undefined || current === undefined) return;
      if (profilesOf(current).includes(own)) return;
      if (program !== runtime || performance.now() > end) throw unloaded(id, own);
      await pause(waitMs);
    }
  };
}

/** Returns undefined if the process has ended. */
const programOf = (pid: number): Promise<string | undefined> =>
  readlink(`/proc/${pid}/exe`).catch(unlessGone);

/** Returns undefined if the process has been reaped. */
const labelOf = async (pid: number): Promise<string | undefined> =>
  // The second file is that of another security module if the kernel has several.
  (await readFile(`/proc/${pid}/attr/apparmor/current`, 'utf8').catch(unlessGone)) ??
  readFile(`/proc/${pid}/attr/current`, 'utf8').catch(unlessGone);

function unlessGone(cause: unknown): undefined {
  if (meansGone(cause)) return undefined;
  throw cause;
}
