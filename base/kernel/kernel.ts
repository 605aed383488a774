import { startWorker } from '../process/index.ts';
import { onDemand } from './on-demand.ts';
import { connectCalls } from './worker-calls.ts';
import type { Caller } from './worker-calls.ts';
import type { MountCalls } from './kernel-mounts.worker.ts';
import type { ProgramCalls } from './kernel-programs.worker.ts';
import type { NamespaceCalls } from './kernel-namespaces.worker.ts';
import type { FileCalls } from './kernel-files.worker.ts';
import type { BindOptions, Propagation } from './mount.ts';
import type { Overlay } from './overlay.ts';
import type { PinnedNamespaces } from './pins.ts';
import type { SpawnedProcess } from './spawn.ts';
import type { DiskUsage } from './disk-usage.ts';

/**
 * The kernel's blocking calls, for the main thread. Each throws `KERNEL_<errno>`; each takes its turn in one of three Workers, which
 * start when they are needed and end when they are idle.
 */
export interface Kernel {
  mount(source: string, target: string, fstype: string, flags: number, data?: string): Promise<void>;
  umount(target: string, flags?: number): Promise<void>;
  bindMount(source: string, target: string, options?: BindOptions): Promise<void>;
  /** Whether a mount could show ids as a user namespace maps them; mounts nothing. KERNEL_EINVAL says why not. */
  checkIdmap(source: string, userNamespace: string): Promise<void>;
  mountOverlay(overlay: Overlay): Promise<void>;
  /** Mounts a file system nowhere: it goes with the descriptor. */
  openDetachedMount(fstype: string): Promise<number>;
  /** Whether the file system that holds a folder limits what projects write: ext4 and XFS, mounted with `prjquota`. */
  limitsProjects(path: string): Promise<boolean>;
  /** Gives folders to a project and limits it, in bytes; 0 is no limit. `place`: the file system, when no folder says it. */
  limitTrees(folders: readonly string[], project: number, bytes: number, place?: string): Promise<void>;
  setPropagation(target: string, propagation: Propagation): Promise<void>;
  /** posix_spawn waits until the kernel has run the program, which takes its turn on a busy machine. The pid is this process's child. */
  spawnProcess(program: SpawnedProcess): Promise<number>;
  syncfs(path: string): Promise<void>;
  /** Removes a tree by descriptors, following no link and crossing no mount (EXDEV, EBUSY); absent is a success. */
  removeTree(path: string): Promise<void>;
  /** Removals under way fail with KERNEL_ECANCELED; part of what they were to remove stays. For who is about to {@link close}. */
  giveUpRemovals(): Promise<void>;
  /** Blocks and inodes of a tree on its own file system. */
  diskUsage(path: string): Promise<DiskUsage>;
  /** Makes net, ipc and uts namespaces, brings `lo` up, sets sysctls and host name, pins each at `<dir>/<type>`. EEXIST where a pin is. */
  pinNamespaces(input: PinnedNamespaces): Promise<void>;
  /** Pins the namespaces that a process has, its user namespace among them, and sets them up as {@link pinNamespaces} does. */
  pinNamespacesOf(pid: number, input: PinnedNamespaces): Promise<void>;
  /** Sets sysctls and host name of pinned namespaces. */
  configureNamespaces(input: PinnedNamespaces): Promise<void>;
  /** Lets pinned namespaces go and removes the folder; absent is a success. */
  unpinNamespaces(dir: string): Promise<void>;
  /** Texts of `/proc/net/<name>` as pinned network namespaces see it, one a pin; undefined where it can not be opened. Give few at once: others wait. */
  readNetFiles(pins: readonly string[], name: string): Promise<(string | undefined)[]>;
  /** Resolves when a Worker takes its turn, or is not there; starts none and keeps none. @throws KERNEL_WORKER_GONE when it broke */
  answers(worker: 'mounts' | 'namespaces' | 'programs'): Promise<void>;
  /** Waits for calls under way and ends the Workers. Without it they do not keep the process alive. */
  close(): Promise<void>;
}

/** How long a Worker outlives its last call: it holds some 8 MB, and another is there within 30 ms. A kubelet asks for figures every ten seconds. */
const IDLE_MS = 15_000;

/**
 * Starts one Worker for mounts and one for namespace windows; one for programs, and one for what may take seconds (removal, syncfs, usage), at
 * their first calls. So a slow delete never delays a pin or a mount, nor a mount an exec. An idle one ends, one that broke is replaced at the
 * next call.
 */
export async function startKernelWorker(): Promise<Kernel> {
  const mounts = onDemand(IDLE_MS, () => connectCalls<MountCalls>(startWorker(import.meta.url, './kernel-mounts.worker.ts')));
  const namespaces = onDemand(IDLE_MS, () => connectCalls<NamespaceCalls>(startWorker(import.meta.url, './kernel-namespaces.worker.ts')));
  const programs = onDemand(IDLE_MS, () => connectCalls<ProgramCalls>(startWorker(import.meta.url, './kernel-programs.worker.ts')));
  const files = onDemand(IDLE_MS, () => connectCalls<FileCalls>(startWorker(import.meta.url, './kernel-files.worker.ts')));
  const mounting: Caller<MountCalls>['call'] = (name, ...values) => mounts.use((caller) => caller.call(name, ...values));
  const pinning: Caller<NamespaceCalls>['call'] = (name, ...values) => {
    // A pod's mounts and programs follow its namespaces.
    for (const worker of [mounts, programs]) void worker.use(nothing).catch(() => undefined);
    return namespaces.use((caller) => caller.call(name, ...values));
  };
  const filing: Caller<FileCalls>['call'] = (name, ...values) => files.use((caller) => caller.call(name, ...values));
  // What can not be started is said now.
  await Promise.all([mounts.use(nothing), namespaces.use(nothing)]);
  return {
    mount: (...values) => mounting('mount', ...values),
    umount: (...values) => mounting('umount', ...values),
    bindMount: (...values) => mounting('bindMount', ...values),
    checkIdmap: (...values) => mounting('checkIdmap', ...values),
    mountOverlay: (overlay) => mounting('mountOverlay', overlay),
    openDetachedMount: (fstype) => mounting('openDetachedMount', fstype),
    limitsProjects: (path) => mounting('limitsProjects', path),
    limitTrees: (...values) => mounting('limitTrees', ...values),
    spawnProcess: (program) => programs.use((caller) => caller.call('spawnProcess', program)),
    setPropagation: (...values) => mounting('setPropagation', ...values),
    syncfs: (path) => filing('syncfs', path),
    removeTree: (path) => filing('removeTree', path),
    giveUpRemovals: () => files.ask((caller) => caller.call('giveUpRemovals')),
    diskUsage: (path) => filing('diskUsage', path),
    pinNamespaces: (input) => pinning('pinNamespaces', input),
    pinNamespacesOf: (...values) => pinning('pinNamespacesOf', ...values),
    configureNamespaces: (input) => pinning('configureNamespaces', input),
    unpinNamespaces: (dir) => pinning('unpinNamespaces', dir),
    readNetFiles: (...values) => namespaces.use((caller) => caller.call('readNetFiles', ...values)),
    answers: (worker) => ({ mounts, namespaces, programs })[worker].ask((caller) => caller.ping()),
    async close() {
      await Promise.all([mounts, namespaces, programs, files].map((worker) => worker.close()));
    },
  };
}

const nothing = (): Promise<void> => Promise.resolve();
