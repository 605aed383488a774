import { PortcullisError } from '../../base/errors/index.ts';
import type { LinuxContainerResources } from '../cri/contract/contract.types.ts';
import type { ResourceSupport } from './resource-support.ts';

/** More than any machine has. Some callers use such a number for "no limit". */
const boundless = 2 ** 62;
/** Kernel: sched/core.c, cgroup-v1/cpuacct; kubelet: cm.MinShares and MaxShares. */
const [minShares, maxShares] = [2, 262_144];
const cpuList = /^\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*$/;
/**
 * Files of the controllers. The files of `cgroup.` itself are excluded, because they move, freeze and kill
 * processes.
 */
const unifiedName = /^(cpu|cpuset|hugetlb|io|memory|misc|pids|rdma|dmem)\.[A-Za-z0-9_.]{1,100}$/;

/**
 * Returns the resources that this host can enforce. Unset values are omitted, and values that this host does
 * not support are refused. The only exception: limits of huge pages are omitted and reported if no controller
 * counts huge pages ({@link uncountedHugepages}). Sources: cri-api LinuxContainerResources;
 * Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst.
 * @throws PortcullisError RUNTIME_BAD_RESOURCES (no kernel accepts it), RUNTIME_RESOURCES_UNSUPPORTED (this
 * kernel does not)
 */
export function checkedResources(
  asked: LinuxContainerResources,
  support: ResourceSupport,
): LinuxContainerResources {
  const memoryLimitInBytes = limit('memory_limit_in_bytes', asked.memoryLimitInBytes);
  const { cpuPeriod, cpuQuota, cpuShares, oomScoreAdj } = asked;
  if (cpuPeriod !== 0 && (cpuPeriod < 1_000 || cpuPeriod > 1_000_000))
    throw bad('cpu_period', cpuPeriod, 'from 1000 to 1000000 microseconds');
  if (cpuQuota !== 0 && cpuQuota !== -1 && (cpuQuota < 1_000 || cpuQuota >= boundless))
    throw bad('cpu_quota', cpuQuota, '1000 microseconds or more, or -1 for none');
  if (cpuShares < 0) throw bad('cpu_shares', cpuShares, 'from 2 to 262144');
  if (oomScoreAdj < -1000 || oomScoreAdj > 1000)
    throw bad('oom_score_adj', oomScoreAdj, 'from -1000 to 1000');
  for (const [name, value] of [
    ['cpuset_cpus', asked.cpusetCpus],
    ['cpuset_mems', asked.cpusetMems],
  ] as const) {
    if (value !== '' && (value.length > 4096 || !cpuList.test(value)))
      throw bad(name, JSON.stringify(value.slice(0, 100)), 'a list such as 0-2,7');
  }
  return {
    ...asked,
    cpuShares: cpuShares === 0 ? 0 : Math.min(Math.max(cpuShares, minShares), maxShares),
    memoryLimitInBytes,
    memorySwapLimitInBytes: swapLimit(asked, memoryLimitInBytes, support),
    hugepageLimits: hugepageLimits(asked.hugepageLimits, support),
    unified: unified(asked.unified, support),
  };
}

function limit(name: string, value: number): number {
  if (value < -1) throw bad(name, value, 'a number of bytes, or -1 for none');
  return value >= boundless ? -1 : value;
}

/** Returns the limit of memory and swap together. An unset value means no swap, as in other runtimes. */
function swapLimit(asked: LinuxContainerResources, memory: number, support: ResourceSupport): number {
  const swap = limit('memory_swap_limit_in_bytes', asked.memorySwapLimitInBytes);
  if (swap > 0 && (memory === -1 || swap < memory))
    throw bad(
      'memory_swap_limit_in_bytes',
      swap,
      memory === -1
        ? 'memory and swap together, so -1 if memory has no limit'
        : `memory and swap together, so not below the memory limit of ${memory}`,
    );
  // Without a memory limit the swap limit has no effect (kubelet: "if memory limit is 0, memory swap limit is
  // ignored").
  if (memory === 0 && swap !== -1) return 0;
  if (!support.swap) {
    if (swap > 0 && swap !== memory)
      throw unsupported(
        'memory_swap_limit_in_bytes',
        'this kernel does not count swap by cgroup',
        'start the kernel with swapaccount=1, or omit the limit',
      );
    return 0;
  }
  return swap === 0 && !Object.hasOwn(asked.unified, 'memory.swap.max') ? memory : swap;
}

/**
 * A kubelet sends a limit for every size it knows, mostly 0. Without the controller no limit is set, as in
 * other runtimes (docs/decisions/0072).
 */
function hugepageLimits(
  asked: LinuxContainerResources['hugepageLimits'],
  support: ResourceSupport,
): LinuxContainerResources['hugepageLimits'] {
  if (asked.length > 64) throw bad('hugepage_limits', `${asked.length} entries`, '64 at most');
  return asked.filter(({ pageSize, limit: bytes }) => {
    if (!/^[1-9]\d{0,5}(KB|MB|GB)$/.test(pageSize))
      throw bad('hugepage_limits.page_size', JSON.stringify(pageSize.slice(0, 64)), 'a size such as 2MB');
    if (!Number.isSafeInteger(bytes) || bytes < 0)
      throw bad(`hugepage_limits ${pageSize}`, bytes, 'a number of bytes');
    if (support.hugepageSizes.has(pageSize)) return support.hugepages;
    if (bytes === 0) return false;
    throw unsupported(
      `hugepage_limits ${pageSize}`,
      `this kernel has no huge pages of ${pageSize}`,
      'use a size of /sys/kernel/mm/hugepages',
    );
  });
}

/**
 * Returns the limits of huge pages that this node does not enforce because no controller counts them, as
 * sentences for the degraded state. Limits of 0 are omitted, because a kubelet sends one for every size.
 * Pure.
 */
export function uncountedHugepages(
  asked: Pick<LinuxContainerResources, 'hugepageLimits'>,
  support: ResourceSupport,
): string[] {
  if (support.hugepages) return [];
  return asked.hugepageLimits
    .filter(({ limit: bytes }) => bytes > 0)
    .map(
      ({ pageSize, limit: bytes }) =>
        `the limit of ${bytes} bytes of ${pageSize} huge pages is not enforced: no cgroup controller of this node counts them`,
    );
}

function unified(
  asked: Readonly<Record<string, string>>,
  support: ResourceSupport,
): Readonly<Record<string, string>> {
  const entries = Object.entries(asked);
  if (entries.length > 256) throw bad('unified', `${entries.length} entries`, '256 at most');
  for (const [name, value] of entries) {
    if (!unifiedName.test(name))
      throw bad('unified', JSON.stringify(name.slice(0, 100)), 'a file of a controller, such as memory.high');
    if (!/^[ -~]{0,1024}$/.test(value))
      throw bad(`unified ${name}`, JSON.stringify(value.slice(0, 100)), 'printable characters');
  }
  if (entries.length > 0 && support.version === 1)
    throw unsupported(
      `unified ${entries[0]?.[0] ?? ''}`,
      'this host uses cgroups version 1',
      'use the other fields, or a host with cgroups version 2',
    );
  return asked;
}

function bad(field: string, value: number | string, what: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_BAD_RESOURCES',
    kind: 'invalid',
    attempted: 'limit resources',
    on: `${field} ${value}`,
    why: `it must be ${what}`,
    fix: 'correct the resources',
  });
}

function unsupported(field: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_RESOURCES_UNSUPPORTED',
    kind: 'precondition',
    attempted: 'limit resources',
    on: field,
    why,
    fix,
  });
}
