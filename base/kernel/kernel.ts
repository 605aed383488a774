import { startWorker } from '../process/index.ts';
import { onDemand } from './on-demand.ts';
import { connectCalls } from './worker-calls.ts';
import type { Caller } from './worker-calls.ts';
import type { MountCalls } from './mount-calls.ts';
import type { ProgramCalls } from './program-calls.ts';
import type { NamespaceCalls } from './namespace-calls.ts';
import type { FileCalls } from './kernel-files.worker.ts';
import type { MountedFile } from './mounts/detached-mount.ts';
import type { BindOptions, Propagation } from './mounts/mount.ts';
import type { Overlay } from './mounts/overlay.ts';
import type { PinnedNamespaces } from './namespaces/pins.ts';
import type { SpawnedProcess } from './processes/spawn.ts';
import type { DiskUsage } from './files/disk-usage.ts';

/**
 * The kernel's blocking calls, for the main thread. Each throws `KERNEL_<errno>`. Each runs in one of four
 * Workers, which start when they are needed and end when they are idle. A start can share one.
 */
export interface Kernel {
  mount(source: string, target: string, fstype: string, flags: number, data?: string): Promise<void>;
  umount(target: string, flags?: number): Promise<void>;
  bindMount(source: string, target: string, options?: BindOptions): Promise<void>;
  /**
   * Checks whether a mount can show ids as a user namespace maps them. Mounts nothing. KERNEL_EINVAL gives
   * the reason why not.
   */
  checkIdmap(source: string, userNamespace: string): Promise<void>;
  mountOverlay(overlay: Overlay): Promise<void>;
  /**
   * Mounts a file system without attaching it. It disappears with the descriptor.
   * @param file contains the file system, which is mounted read-only
   */
  openDetachedMount(fstype: string, file?: MountedFile): Promise<number>;
  /**
   * Returns whether the file system that contains a folder limits the writes of projects: ext4 and XFS,
   * mounted with `prjquota`.
   */
  limitsProjects(path: string): Promise<boolean>;
  /**
   * Assigns folders to a project and sets its limit in bytes; 0 means no limit. `place`: the file system, if
   * no folder gives it.
   */
  limitTrees(folders: readonly string[], project: number, bytes: number, place?: string): Promise<void>;
  setPropagation(target: string, propagation: Propagation): Promise<void>;
  /**
   * Starts a program. posix_spawn waits until the kernel has executed it, which can take time on a busy
   * machine. The pid is a child of this process.
   */
  spawnProcess(program: SpawnedProcess): Promise<number>;
  syncfs(path: string): Promise<void>;
  /**
   * Removes a tree by descriptors. It follows no symbolic link and crosses no mount (EXDEV, EBUSY). Succeeds
   * if the tree does not exist.
   */
  removeTree(path: string): Promise<void>;
  /**
   * Makes running removals fail with KERNEL_ECANCELED; part of their trees remains. Call it before {@link
   * close}.
   */
  giveUpRemovals(): Promise<void>;
  /** Counts blocks and inodes of a tree on its own file system. */
  diskUsage(path: string): Promise<DiskUsage>;
  /**
   * Creates net, ipc and uts namespaces, brings `lo` up, sets sysctls and host name, and pins each at
   * `<dir>/<type>`. EEXIST if a pin exists.
   */
  pinNamespaces(input: PinnedNamespaces): Promise<void>;
  /**
   * Pins the namespaces of a process, including its user namespace, and sets them up like {@link
   * pinNamespaces}.
   */
  pinNamespacesOf(pid: number, input: PinnedNamespaces): Promise<void>;
  /** Sets sysctls and host name of pinned namespaces. */
  configureNamespaces(input: PinnedNamespaces): Promise<void>;
  /** Releases pinned namespaces and removes the folder. Succeeds if they do not exist. */
  unpinNamespaces(dir: string): Promise<void>;
  /**
   * Reads `/proc/net/<name>` in pinned network namespaces, one text per pin; undefined if the file cannot be
   * opened. Pass only a few pins at once, because other calls wait.
   */
  readNetFiles(pins: readonly string[], name: string): Promise<(string | undefined)[]>;
  /**
   * Resolves when a Worker has handled the ping, or if it does not run. Starts no Worker and keeps none
   * running. @throws KERNEL_WORKER_GONE when it crashed
   */
  answers(worker: 'mounts' | 'namespaces' | 'programs'): Promise<void>;
  /**
   * Ends the Workers that have no call now. Their next call takes up to 30 ms longer.
   * @param options.isShared whether one Worker serves the next calls, as at the start
   */
  rest(options?: { readonly isShared?: boolean }): void;
  /**
   * Waits for pending calls and ends the Workers. Without this call, idle Workers do not keep the process
   * alive either.
   */
  close(): Promise<void>;
}

/**
 * How long a Worker outlives its last call. It uses about 8 MB, and another one is ready within 30 ms. A
 * kubelet requests metrics every ten seconds.
 */
const IDLE_MS = 15_000;

/** How long the first Worker serves everything, unless `rest` is called before. */
const SHARED_MS = 5_000;
/**
 * How long a call waits for those before it in the shared Worker. Afterwards each kind of calls has its own
 * Worker: a file system or a program may never answer.
 */
const PATIENCE_MS = 200;

/**
 * Starts one Worker for mounts and one for namespace windows. The Workers for programs, and for calls that
 * may take seconds (removal, syncfs, usage), start at their first call. This way a slow removal never delays
 * a pin or a mount, and a mount never delays an exec. An idle Worker ends, and a crashed one is replaced at
 * the next call.
 * @param options.isShared whether one Worker first serves mounts, namespaces and programs: for five seconds,
 * or until `rest` is called, or a call takes long. A start has few of these calls, and three Workers would
 * take more memory and time than they save.
 */
export async function startKernelWorker({ isShared = false } = {}): Promise<Kernel> {
  const first = onDemand(IDLE_MS, () =>
    connectCalls<FirstCalls>(startWorker(import.meta.url, './kernel-first.worker.ts')),
  );
  const mounts = onDemand(IDLE_MS, () =>
    connectCalls<MountCalls>(startWorker(import.meta.url, './kernel-mounts.worker.ts')),
  );
  const namespaces = onDemand(IDLE_MS, () =>
    connectCalls<NamespaceCalls>(startWorker(import.meta.url, './kernel-namespaces.worker.ts')),
  );
  const programs = onDemand(IDLE_MS, () =>
    connectCalls<ProgramCalls>(startWorker(import.meta.url, './kernel-programs.worker.ts')),
  );
  const files = onDemand(IDLE_MS, () =>
    connectCalls<FileCalls>(startWorker(import.meta.url, './kernel-files.worker.ts')),
  );
  let sharing = false;
  const shares = (): boolean => sharing;
  const separate = (): void => {
    sharing = false;
    first.rest();
  };
  let sharedUntil: NodeJS.Timeout | undefined;
  const share = (): void => {
    sharing = true;
    clearTimeout(sharedUntil);
    sharedUntil = setTimeout(separate, SHARED_MS).unref();
  };
  if (isShared) share();
  // The shared Worker gets one call at a time, so that no call is behind another that never ends.
  let before = Promise.resolve();
  const inTurn = async <Result>(
    shared: (caller: FirstCaller) => Promise<Result>,
    own: () => Promise<Result>,
  ): Promise<Result> => {
    if (!shares()) return own();
    const mine = before;
    const done = Promise.withResolvers<void>();
    before = mine.then(() => done.promise);
    try {
      await within(PATIENCE_MS, mine, separate);
      return await (shares() ? first.use(shared) : own());
    } finally {
      done.resolve();
      if (!shares()) first.rest();
    }
  };
  const mounting: Caller<MountCalls>['call'] = (name, ...values) =>
    inTurn(
      (caller) => caller.call(name, ...(values as never)),
      () => mounts.use((caller) => caller.call(name, ...values)),
    );
  const pinning: Caller<NamespaceCalls>['call'] = (name, ...values) =>
    inTurn(
      (caller) => caller.call(name, ...(values as never)),
      () => {
        // The mounts and programs of a pod follow its namespaces.
        for (const worker of [mounts, programs]) void worker.use(nothing).catch(() => undefined);
        return namespaces.use((caller) => caller.call(name, ...values));
      },
    );
  const filing: Caller<FileCalls>['call'] = (name, ...values) =>
    files.use((caller) => caller.call(name, ...values));
  // A Worker that cannot be started is reported now.
  await (isShared ? first.use(nothing) : Promise.all([mounts.use(nothing), namespaces.use(nothing)]));
  return {
    mount: (...values) => mounting('mount', ...values),
    umount: (...values) => mounting('umount', ...values),
    bindMount: (...values) => mounting('bindMount', ...values),
    checkIdmap: (...values) => mounting('checkIdmap', ...values),
    mountOverlay: (overlay) => mounting('mountOverlay', overlay),
    openDetachedMount: (...values) => mounting('openDetachedMount', ...values),
    limitsProjects: (path) => mounting('limitsProjects', path),
    limitTrees: (...values) => mounting('limitTrees', ...values),
    spawnProcess: (program) =>
      inTurn(
        (caller) => caller.call('spawnProcess', program),
        () => programs.use((caller) => caller.call('spawnProcess', program)),
      ),
    setPropagation: (...values) => mounting('setPropagation', ...values),
    syncfs: (path) => filing('syncfs', path),
    removeTree: (path) => filing('removeTree', path),
    giveUpRemovals: () => files.ask((caller) => caller.call('giveUpRemovals')),
    diskUsage: (path) => filing('diskUsage', path),
    pinNamespaces: (input) => pinning('pinNamespaces', input),
    pinNamespacesOf: (...values) => pinning('pinNamespacesOf', ...values),
    configureNamespaces: (input) => pinning('configureNamespaces', input),
    unpinNamespaces: (dir) => pinning('unpinNamespaces', dir),
    readNetFiles: (...values) =>
      inTurn(
        (caller) => caller.call('readNetFiles', ...values),
        () => namespaces.use((caller) => caller.call('readNetFiles', ...values)),
      ),
    async answers(worker) {
      const asked = [first, { mounts, namespaces, programs }[worker]];
      await Promise.all(asked.map((one) => one.ask((caller) => caller.ping())));
    },
    rest({ isShared: again = false } = {}) {
      if (again) share();
      else separate();
      for (const worker of [first, mounts, namespaces, programs, files]) worker.rest();
    },
    async close() {
      clearTimeout(sharedUntil);
      await Promise.all([first, mounts, namespaces, programs, files].map((worker) => worker.close()));
    },
  };
}

type FirstCalls = MountCalls & NamespaceCalls & ProgramCalls;
type FirstCaller = Pick<Caller<FirstCalls>, 'call'>;

/** Resolves with the promise, or calls `late` and resolves after some milliseconds. */
async function within(milliseconds: number, promise: Promise<void>, late: () => void): Promise<void> {
  const wait = Promise.withResolvers<void>();
  const timer = setTimeout(() => {
    late();
    wait.resolve();
  }, milliseconds);
  await Promise.race([promise, wait.promise]);
  clearTimeout(timer);
}

const nothing = (): Promise<void> => Promise.resolve();
