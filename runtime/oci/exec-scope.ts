import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { attempt, leavesUnknown, meansGone, PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { closeFd } from '../../base/kernel/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import type { CgroupMounts } from '../cgroups/cgroups.ts';

/**
 * How commands in containers get a separate cgroup, so that every process that they start can be found, even
 * after it has left its session and its parent has ended. This cgroup sets no limits: the container's own
 * cgroups still limit the command.
 *
 * `nested`: under version 2, below the container's cgroup. The runtime moves the command there before it runs
 * (`exec --cgroup`). `beside`: under version 1 the runtime moves the command into the container's cgroup of
 * each hierarchy that it sees. It does not see version 2 (see mount-namespace.ts), which the kernel has
 * without controllers: there the command stays in the cgroup of its runtime.
 */
export type ExecScopes =
  | { readonly kind: 'nested' }
  | { readonly kind: 'beside'; readonly root: string }
  | { readonly kind: 'none' };

/** The cgroup of one command. */
export interface ExecScope {
  /** Arguments for the runtime's `exec`. */
  readonly args: readonly string[];
  /** Moves the runtime's process into the cgroup, right after its start and so before the command starts. */
  adopt(runtime: number): Promise<void>;
  /**
   * Kills every process in the cgroup, except `runtime`, which must survive to reap the command, and
   * processes for which `spare` returns true.
   */
  kill(runtime: number, spare?: (pid: number) => boolean): Promise<void>;
  /**
   * Moves the remaining processes, which were meant to stay, to the container's own cgroup, and removes this
   * one.
   */
  close(): Promise<void>;
}

const besideRoot = 'portcullis-exec';
const killMs = 2_000;

/**
 * Opens the place for the cgroups of commands.
 * @returns `none` if the kernel has no version 2: then only a command's process group can be found
 */
export async function openExecScopes(
  cgroups: Pick<CgroupMounts, 'version'>,
  kernel: Pick<Kernel, 'openDetachedMount'>,
): Promise<ExecScopes> {
  if (cgroups.version === 2) return { kind: 'nested' };
  try {
    // It exists only through a descriptor and is never mounted at a path, so a killed daemon leaves no mount.
    return { kind: 'beside', root: `/proc/self/fd/${await kernel.openDetachedMount('cgroup2')}` };
  } catch {
    return { kind: 'none' };
  }
}

export async function closeExecScopes(scopes: ExecScopes): Promise<void> {
  if (scopes.kind !== 'beside') return;
  await rmdir(join(scopes.root, besideRoot)).catch(() => undefined);
  closeFd(Number(scopes.root.slice(scopes.root.lastIndexOf('/') + 1)));
}

/**
 * Creates the cgroup of a command, or opens the one that an earlier daemon created.
 * @param input.init the container's first process
 * @param input.takesCgroup whether the runtime knows `exec --cgroup`
 * @returns undefined if no cgroup is available
 */
export async function openExecScope(
  scopes: ExecScopes,
  input: {
    readonly container: string;
    readonly name: string;
    readonly init: number;
    readonly takesCgroup: boolean;
  },
): Promise<ExecScope | undefined> {
  if (scopes.kind === 'none') return undefined;
  if (scopes.kind === 'nested' && !input.takesCgroup) return undefined;
  try {
    const root = scopes.kind === 'nested' ? '/sys/fs/cgroup' : scopes.root;
    const current = await unifiedPath(input.init);
    // The runtime looks for the cgroup below the one that it made, wherever the first process is now.
    const home = join(root, scopes.kind === 'nested' ? containerHome(current, input.container) : current);
    const path =
      scopes.kind === 'nested'
        ? join(home, input.name)
        : join(root, besideRoot, `${input.container}-${input.name}`);
    await mkdir(path, { recursive: true });
    return scope(path, home, scopes.kind === 'nested' ? ['--cgroup', input.name] : []);
  } catch (cause) {
    // Without the cgroup, the processes that the command leaves could not be found. A lack of descriptors
    // does not justify that.
    if (leavesUnknown(cause)) throw noScope(input.container, cause);
    return undefined;
  }
}

function noScope(container: string, cause: unknown): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_EXEC_SCOPE_FAILED',
    kind: 'exhausted',
    attempted: 'create the cgroup of a command in container',
    on: container.slice(0, 13),
    why: reasonOf(cause),
    fix: 'check whether the daemon has free descriptors (`LimitNOFILE`) and memory; the request can be repeated',
    cause,
  });
}

function scope(path: string, home: string, args: readonly string[]): ExecScope {
  const processes = async (): Promise<number[]> =>
    (await readFile(join(path, 'cgroup.procs'), 'utf8').catch(unlessGone))
      .split('\n')
      .map(Number)
      .filter((pid) => pid > 0);
  const freeze = (on: boolean): Promise<void> =>
    writeFile(join(path, 'cgroup.freeze'), on ? '1' : '0').catch(() => undefined);
  return {
    args,
    adopt: async (runtime) => {
      if (args.length === 0) await writeFile(join(path, 'cgroup.procs'), String(runtime));
    },
    kill: async (runtime, spare = () => false) => {
      const deadline = performance.now() + killMs;
      let unknown: Error | undefined;
      // While the cgroup is frozen, no process in it can start another one. SIGKILL also reaches frozen
      // processes.
      await freeze(true);
      try {
        for (let waitMs = 1; performance.now() < deadline; waitMs = Math.min(waitMs * 2, 50)) {
          try {
            const remaining = (await processes()).filter((pid) => pid !== runtime && !spare(pid));
            if (remaining.length === 0) return;
            for (const pid of remaining) sendKill(pid);
            unknown = undefined;
          } catch (cause) {
            // After a failed read, the contents are unknown.
            unknown = new Error(reasonOf(cause), { cause });
          }
          await new Promise((resolve) => setTimeout(resolve, waitMs).unref());
        }
        if (unknown !== undefined) throw unknown;
      } finally {
        await freeze(false);
      }
    },
    close: async () => {
      for (let waitMs = 1; waitMs < 1_000; waitMs *= 2) {
        const removed = await rmdir(path).then(
          () => true,
          (error: unknown) => (error as NodeJS.ErrnoException).code === 'ENOENT',
        );
        if (removed) return;
        for (const pid of await processes().catch(() => []))
          await writeFile(join(home, 'cgroup.procs'), String(pid)).catch(() => undefined);
        await new Promise((resolve) => setTimeout(resolve, waitMs).unref());
      }
    },
  };
}

/** A cgroup that is removed while its file is open answers "no such device". */
function unlessGone(cause: unknown): string {
  if (meansGone(cause) || (cause as NodeJS.ErrnoException).code === 'ENODEV') return '';
  throw cause;
}

/**
 * Returns the cgroup that the runtime made for a container, from the cgroup of its first process. A container
 * that may write its cgroups can move that process below it. Pure.
 */
export function containerHome(path: string, container: string): string {
  const parts = path.split('/');
  const own = parts.findIndex((part) => part === container || part.endsWith(`-${container}.scope`));
  if (own === -1) return path;
  // crun under systemd (cgroup-driver.ts, processCgroup).
  const isSubgroup = parts[own]?.endsWith('.scope') === true && parts[own + 1] === 'container';
  return parts.slice(0, own + (isSubgroup ? 2 : 1)).join('/');
}

/** Returns the path of a process in the version 2 hierarchy (cgroups(7), /proc/PID/cgroup). */
async function unifiedPath(pid: number): Promise<string> {
  const path = /^0::(\/.*)$/m.exec(await readFile(`/proc/${pid}/cgroup`, 'utf8'))?.[1];
  if (path === undefined) throw new Error('not in version 2');
  return path;
}

function sendKill(pid: number): void {
  // The process may have ended already.
  attempt(() => process.kill(pid, 'SIGKILL'));
}
