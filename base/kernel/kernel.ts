import { startWorker } from '../process/index.ts';
import { onDemand } from './on-demand.ts';
import { connectCalls } from './worker-calls.ts';
import type { MountCalls } from './kernel-mounts.worker.ts';
import type { NamespaceCalls } from './kernel-namespaces.worker.ts';
import type { FileCalls } from './kernel-files.worker.ts';
import type { BindOptions, Propagation } from './mount.ts';
import type { Overlay } from './overlay.ts';
import type { PinnedNamespaces } from './pins.ts';
import type { SpawnedProcess } from './spawn.ts';
import type { DiskUsage } from './disk-usage.ts';

/** The kernel's blocking calls, for the main thread. Each throws `KERNEL_<errno>`; each takes its turn in one of three Workers. */
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
  /** Waits for calls under way and ends the Workers. Without it they do not keep the process alive. */
  close(): Promise<void>;
}

/** How long the Worker for slow calls outlives its last one: a Worker holds some 10 MB. */
const FILES_IDLE_MS = 30_000;

/**
 * Starts one Worker for mounts and one for namespace windows; a third, for what may take seconds (removal, syncfs, usage), at
 * its first call. So a slow delete never delays a pin or a mount.
 */
export async function startKernelWorker(): Promise<Kernel> {
  const [mounts, namespaces] = await Promise.all([
    connectCalls<MountCalls>(startWorker(import.meta.url, './kernel-mounts.worker.ts')),
    connectCalls<NamespaceCalls>(startWorker(import.meta.url, './kernel-namespaces.worker.ts')),
  ]);
  const files = onDemand(FILES_IDLE_MS, () => connectCalls<FileCalls>(startWorker(import.meta.url, './kernel-files.worker.ts')));
  return {
    mount: (...values) => mounts.call('mount', ...values),
    umount: (...values) => mounts.call('umount', ...values),
    bindMount: (...values) => mounts.call('bindMount', ...values),
    checkIdmap: (...values) => mounts.call('checkIdmap', ...values),
    mountOverlay: (overlay) => mounts.call('mountOverlay', overlay),
    openDetachedMount: (fstype) => mounts.call('openDetachedMount', fstype),
    limitsProjects: (path) => mounts.call('limitsProjects', path),
    limitTrees: (...values) => mounts.call('limitTrees', ...values),
    spawnProcess: (program) => mounts.call('spawnProcess', program),
    setPropagation: (...values) => mounts.call('setPropagation', ...values),
    syncfs: (path) => files.use((caller) => caller.call('syncfs', path)),
    removeTree: (path) => files.use((caller) => caller.call('removeTree', path)),
    diskUsage: (path) => files.use((caller) => caller.call('diskUsage', path)),
    pinNamespaces: (input) => namespaces.call('pinNamespaces', input),
    pinNamespacesOf: (...values) => namespaces.call('pinNamespacesOf', ...values),
    configureNamespaces: (input) => namespaces.call('configureNamespaces', input),
    unpinNamespaces: (dir) => namespaces.call('unpinNamespaces', dir),
    readNetFiles: (...values) => namespaces.call('readNetFiles', ...values),
    async close() {
      await Promise.all([mounts.close(), namespaces.close(), files.close()]);
    },
  };
}
