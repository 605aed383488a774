import { existsSync, mkdirSync, readdirSync, rmdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { attempt, meansGone } from '../../base/errors/index.ts';
import type { CgroupMounts } from './cgroups.ts';
import { countsHugepages } from './hugepages.ts';

/** The limits that the cgroups of this host support. */
export interface ResourceSupport {
  readonly version: 1 | 2;
  /**
   * Whether memory and swap together can be limited. Version 1 only supports it when the kernel was started
   * with swap accounting.
   */
  readonly swap: boolean;
  readonly hugepages: boolean;
  /** Page sizes that the kernel has, in the notation of a kubelet: `2MB`. */
  readonly hugepageSizes: ReadonlySet<string>;
}

export function detectResourceSupport(mounts: CgroupMounts): ResourceSupport {
  return {
    version: mounts.version,
    swap: limitsSwap(mounts),
    hugepages: countsHugepages(mounts),
    hugepageSizes: hugepageSizes(),
  };
}

function limitsSwap(mounts: CgroupMounts): boolean {
  if (mounts.version === 1) {
    const memory = mounts.roots.find((root) => basename(root).split(',').includes('memory'));
    return memory !== undefined && existsSync(join(memory, 'memory.memsw.limit_in_bytes'));
  }
  const [root = '/sys/fs/cgroup'] = mounts.roots;
  // The root cgroup has no limits. A cgroup created below it shows whether there are any.
  const probe = join(root, `portcullis-probe-${process.pid}`);
  try {
    mkdirSync(probe);
    if (existsSync(join(probe, 'memory.swap.max'))) return true;
    // No memory controller is enabled below the root yet. The first container enables it, and swap with it
    // where the kernel has any.
    return !existsSync(join(probe, 'memory.max')) && existsSync('/proc/swaps');
  } catch {
    return false;
  } finally {
    // The cgroup exists only if it could be created.
    attempt(() => rmdirSync(probe));
  }
}

/** Source: Documentation/admin-guide/mm/hugetlbpage.rst, /sys/kernel/mm/hugepages. */
function hugepageSizes(): Set<string> {
  try {
    const sizes = readdirSync('/sys/kernel/mm/hugepages').map((name) =>
      Number(/^hugepages-(\d+)kB$/.exec(name)?.[1] ?? 0),
    );
    return new Set(sizes.map(pageSizeName));
  } catch (cause) {
    if (!meansGone(cause)) throw cause;
    return new Set();
  }
}

function pageSizeName(kilobytes: number): string {
  if (kilobytes >= 1024 ** 2) return `${kilobytes / 1024 ** 2}GB`;
  return kilobytes >= 1024 ? `${kilobytes / 1024}MB` : `${kilobytes}KB`;
}
