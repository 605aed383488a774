import { randomBytes } from 'node:crypto';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Kernel } from '../../base/kernel/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { StartProgram } from '../../base/reactor/index.ts';
import { settleActs } from '../state/settle.ts';
import type { Unsettled } from '../state/settle.ts';
import { podNamespaces } from './pod-namespaces.ts';
import type { PodNamespace } from './pod-namespaces.ts';
import { pinUserNamespace } from './user-namespace.ts';
import type { UserNamespacePlan } from './user-namespace-options.ts';
import { defaultSysctls } from './validate.ts';

/**
 * Namespaces that are created in advance. A set is a folder with one pin per namespace; the caller that
 * claims it records the path of the folder.
 */
export interface NamespacePool {
  /** Returns a fresh set with host name and sysctls applied. */
  claim(input: {
    readonly hostname: string;
    readonly sysctls: Readonly<Record<string, string>>;
  }): Promise<string>;
  /** Unpins a set. Done already: success. */
  release(dir: string): Promise<void>;
  /** Unpins a set that no record names: now, or later if no thread is available. */
  discard(dir: string): Promise<void>;
  /** Creates a set and returns its folder, for a pod that shares some namespaces of the host. */
  make(
    types: readonly PodNamespace[],
    input: { readonly hostname: string; readonly sysctls: Readonly<Record<string, string>> },
  ): Promise<string>;
  /**
   * Creates a set that belongs to a user namespace with these ids, which is pinned beside it as `user`. Such
   * a set never comes from the pool, because the ids differ by pod.
   */
  makeMapped(
    plan: UserNamespacePlan,
    types: readonly PodNamespace[],
    input: { readonly hostname: string; readonly sysctls: Readonly<Record<string, string>> },
  ): Promise<string>;
  /**
   * Unpins every set whose folder is not in `claimed`, then fills the pool. @returns the sets that remain,
   * and why
   */
  reconcile(claimed: ReadonlySet<string>): Promise<readonly Unsettled[]>;
  readonly size: number;
  /** Unpins the unclaimed sets. */
  close(): Promise<void>;
}

const shortestWaitMs = 500;
const longestWaitMs = 30_000;

/** Creates sets of namespaces, and unpins those that nothing claims. */
function createSets(dir: string, kernel: Kernel, log: Logger) {
  /** Unclaimed sets that could not be unpinned yet. */
  const abandoned = new Set<string>();
  /** Unpins an unclaimed set now, or later if no thread is available. */
  const discard = async (set: string): Promise<void> => {
    try {
      await kernel.unpinNamespaces(set);
      abandoned.delete(set);
    } catch (cause) {
      if (!abandoned.has(set))
        log.warn(
          { set, cause: String(cause) },
          'unclaimed pinned namespaces could not be removed; the removal is repeated',
        );
      abandoned.add(set);
    }
  };
  /**
   * Creates a set with the pins of `make`, or leaves no pins. A Worker that crashes meanwhile does not remove
   * its pins, so they are removed here.
   */
  const newSet = async (make: (set: string) => Promise<void>): Promise<string> => {
    const set = join(dir, randomBytes(8).toString('hex'));
    try {
      await make(set);
      return set;
    } catch (cause) {
      await discard(set);
      throw cause;
    }
  };
  const pin = (
    types: readonly PodNamespace[],
    options: { hostname?: string; sysctls: Readonly<Record<string, string>> },
  ): Promise<string> =>
    newSet((set) =>
      kernel.pinNamespaces({
        dir: set,
        types: [...types],
        ...(options.hostname !== undefined && types.includes('uts') && { hostname: options.hostname }),
        sysctls: { ...options.sysctls },
      }),
    );
  return { abandoned, discard, newSet, pin };
}

/** @param input.size how many sets are kept ready; with 0, each set is created on demand */
export async function openNamespacePool(input: {
  readonly dir: string;
  readonly size: number;
  readonly kernel: Kernel;
  readonly startProgram: StartProgram;
  readonly log: Logger;
}): Promise<NamespacePool> {
  const { dir, kernel } = input;
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const ready: string[] = [];
  const { abandoned, discard, newSet, pin } = createSets(dir, kernel, input.log);
  let filling: Promise<void> | undefined;
  let closed = false;

  let again: NodeJS.Timeout | undefined;
  let failures = 0;
  /** Without the next pod, nothing else would fill the pool or unpin abandoned sets. */
  const fillLater = (): void => {
    if (closed) return;
    again ??= setTimeout(
      () => {
        again = undefined;
        fill();
      },
      Math.min(shortestWaitMs * 2 ** failures, longestWaitMs),
    ).unref();
    failures += 1;
  };
  const fill = (): void => {
    filling ??= (async () => {
      for (const set of [...abandoned]) await discard(set);
      while (!closed && ready.length < input.size)
        ready.push(await pin(podNamespaces, { sysctls: defaultSysctls }));
    })()
      .then(
        () => {
          if (abandoned.size === 0) failures = 0;
          else fillLater();
        },
        (cause: unknown) => {
          if (failures === 0)
            input.log.warn(
              { cause: String(cause) },
              'the namespace pool could not be filled; the attempt is repeated until it succeeds',
            );
          fillLater();
        },
      )
      .finally(() => (filling = undefined));
  };
  return {
    claim: async ({ hostname, sysctls }) => {
      const set = ready.shift();
      fill();
      if (set === undefined) return pin(podNamespaces, { hostname, sysctls });
      try {
        await kernel.configureNamespaces({
          dir: set,
          types: [...podNamespaces],
          hostname,
          sysctls: beyondDefaults(sysctls),
        });
      } catch (cause) {
        // A set that is configured only in part is removed.
        await discard(set);
        throw cause;
      }
      return set;
    },
    make: (types, options) => pin(types, options),
    makeMapped: (plan, types, { hostname, sysctls }) =>
      newSet((set) =>
        pinUserNamespace({
          ...{ dir: set, types, plan, hostname, sysctls, kernel },
          startProgram: input.startProgram,
        }),
      ),
    release: (set) => kernel.unpinNamespaces(set),
    async discard(set) {
      await discard(set);
      if (abandoned.size > 0) fillLater();
    },
    reconcile: async (claimed) => {
      const found = (await readdir(dir))
        .map((name) => join(dir, name))
        .filter((set) => !claimed.has(set) && !ready.includes(set));
      const left = await settleActs(
        found.map((set) => ({ on: set, act: () => kernel.unpinNamespaces(set) })),
      );
      fill();
      return left;
    },
    get size() {
      return ready.length;
    },
    close: async () => {
      closed = true;
      clearTimeout(again);
      await filling;
      for (const set of ready.splice(0)) abandoned.add(set);
      // The sets that a lost Worker had are given to the next one.
      await Promise.all([...abandoned].map(discard));
      await Promise.all([...abandoned].map((set) => kernel.unpinNamespaces(set)));
    },
  };
}

function beyondDefaults(sysctls: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(sysctls).filter(([key, value]) => defaultSysctls[key] !== value));
}
