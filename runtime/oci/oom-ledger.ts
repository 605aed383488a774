import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { CgroupMounts } from './cgroups.ts';
import { oomKills } from './cgroups.ts';

/** Tells whether the kernel killed in a container for want of memory, also when the container's cgroup is gone already. */
export interface OomLedger {
  /** To be called before a container of this pod runs, and for those that run when the daemon starts. */
  open(podPath: string): Promise<void>;
  /** Asked once a container, after its end. */
  wasKilled(podPath: string, containerPath: string): Promise<boolean>;
}

interface Entry {
  /** Kills from before, and of containers whose cgroup is gone. */
  settled: number;
  /** Kills of containers that have ended and whose cgroup may stand, by its path. */
  readonly ended: Map<string, number>;
}

/**
 * systemd removes a scope the moment it is empty, with the counters in it, and conmon may come too late to read them. The pod's slice counts
 * the kills of all that is and was below it (cgroup-v2.rst, memory.events: hierarchical), so that what its present scopes and those
 * that ended before do not explain is this container's. Version 1 counts no child's kills, and keeps a cgroup until it is removed.
 */
export function createOomLedger(mounts: CgroupMounts): OomLedger {
  const entries = new Map<string, Entry>();
  const below = async (podPath: string, entry: Entry): Promise<number> => {
    const names = await readdir(join(mounts.roots[0] ?? '', podPath)).catch(() => []);
    const paths = new Set(names.filter((name) => name.endsWith('.scope')).map((name) => `${podPath}/${name}`));
    let standing = 0;
    for (const path of paths) standing += entry.ended.get(path) ?? (await oomKills(mounts, path));
    for (const [path, kills] of entry.ended) {
      if (paths.has(path)) continue;
      entry.settled += kills;
      entry.ended.delete(path);
    }
    return entry.settled + standing;
  };
  /** Read in this order: a kill in between is then explained twice, and never blamed on another. */
  const unexplained = async (podPath: string, entry: Entry): Promise<number> => {
    const all = await oomKills(mounts, podPath);
    return Math.max(0, all - (await below(podPath, entry)));
  };
  const settle = async (podPath: string, containerPath: string): Promise<boolean> => {
    const own = await oomKills(mounts, containerPath);
    const entry = entries.get(podPath);
    if (entry === undefined) return own > 0;
    const kills = own > 0 || existsSync(join(mounts.roots[0] ?? '', containerPath)) ? own : await unexplained(podPath, entry);
    entry.ended.set(containerPath, kills);
    return kills > 0;
  };
  // One after the other: two that end at once must not both be given the same kill.
  let last: Promise<unknown> = Promise.resolve();
  return {
    open: async (podPath) => {
      if (mounts.version === 1 || entries.has(podPath)) return;
      for (const known of entries.keys()) if (!existsSync(join(mounts.roots[0] ?? '', known))) entries.delete(known);
      const entry: Entry = { settled: 0, ended: new Map() };
      entries.set(podPath, entry);
      entry.settled = await unexplained(podPath, entry);
    },
    wasKilled: (podPath, containerPath) => {
      const answer = last.then(() => settle(podPath, containerPath));
      last = answer.catch(() => undefined);
      return answer;
    },
  };
}
