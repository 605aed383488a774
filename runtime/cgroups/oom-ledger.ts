import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createSerialQueue } from '../../base/queues/index.ts';
import type { CgroupMounts } from './cgroups.ts';
import { oomKills, unlessUnknown } from './cgroups.ts';

/**
 * Reports whether the kernel killed a process in a container because memory ran out, even if the container's
 * cgroup no longer exists.
 */
export interface OomLedger {
  /**
   * Call this before a container of the pod runs, and at the start of the daemon for pods with running
   * containers.
   */
  open(podPath: string): Promise<void>;
  /** Call this once for each container, after its end. */
  wasKilled(podPath: string, containerPath: string): Promise<boolean>;
}

interface Entry {
  /** Kills from before, and of containers whose cgroup no longer exists. */
  settled: number;
  /** Kills of ended containers whose cgroup may still exist, by its path. */
  readonly ended: Map<string, number>;
}

/**
 * Creates a ledger. systemd removes a scope as soon as it is empty, together with its counters, and conmon
 * may be too late to read them. The pod's slice counts the kills of all present and past cgroups below it
 * (cgroup-v2.rst, memory.events: hierarchical). Kills that its present scopes and the scopes that ended
 * before do not explain therefore belong to this container. Version 1 does not count a child's kills, and
 * keeps a cgroup until it is removed.
 */
export function createOomLedger(mounts: CgroupMounts): OomLedger {
  const entries = new Map<string, Entry>();
  const below = async (podPath: string, entry: Entry): Promise<number> => {
    const names = await readdir(join(mounts.roots[0] ?? '', podPath)).catch(unlessUnknown([]));
    const paths = new Set(
      names.filter((name) => name.endsWith('.scope')).map((name) => `${podPath}/${name}`),
    );
    let existing = 0;
    for (const path of paths) existing += entry.ended.get(path) ?? (await oomKills(mounts, path));
    for (const [path, kills] of entry.ended) {
      if (paths.has(path)) continue;
      entry.settled += kills;
      entry.ended.delete(path);
    }
    return entry.settled + existing;
  };
  /**
   * The order of these reads matters: a kill between them is then explained twice, and never attributed to
   * another container.
   */
  const unexplained = async (podPath: string, entry: Entry): Promise<number> => {
    const all = await oomKills(mounts, podPath);
    return Math.max(0, all - (await below(podPath, entry)));
  };
  const settle = async (podPath: string, containerPath: string): Promise<boolean> => {
    const own = await oomKills(mounts, containerPath);
    const entry = entries.get(podPath);
    if (entry === undefined) return own > 0;
    const kills =
      own > 0 || existsSync(join(mounts.roots[0] ?? '', containerPath))
        ? own
        : await unexplained(podPath, entry);
    entry.ended.set(containerPath, kills);
    return kills > 0;
  };
  // Runs one check after the other: two containers that end at once must not both be given the same kill.
  const inTurn = createSerialQueue();
  return {
    open: async (podPath) => {
      if (mounts.version === 1 || entries.has(podPath)) return;
      for (const known of entries.keys())
        if (!existsSync(join(mounts.roots[0] ?? '', known))) entries.delete(known);
      const entry: Entry = { settled: 0, ended: new Map() };
      entries.set(podPath, entry);
      try {
        entry.settled = await unexplained(podPath, entry);
      } catch (cause) {
        // Kills from before would be attributed to a container that ends later.
        entries.delete(podPath);
        throw cause;
      }
    },
    wasKilled: (podPath, containerPath) => inTurn(() => settle(podPath, containerPath)),
  };
}
