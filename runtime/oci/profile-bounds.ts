import { PortcullisError } from '../../base/errors/index.ts';
import type { RuntimeBounds, Settings } from '../../entitlements/index.ts';
import { MountPropagation } from '../cri/contract/contract.types.ts';
import type { LinuxContainerResources, Mount } from '../cri/contract/contract.types.ts';
import type { HandlerFeatures } from './handler-features.ts';
import { recursivelyReadOnly } from './mapped-mounts.ts';
import type { OciMount } from './spec.types.ts';

/** The properties of a container to which the bounds of its profile apply. */
interface Facts {
  readonly uid: number;
  readonly userNamespace: boolean;
  readonly cgroupNamespace: boolean;
  readonly hostNetwork: boolean;
  /** Whether the runtime creates time namespaces. */
  readonly timeNamespace: boolean;
}

/**
 * Refuses a container that does not meet the profile's requirements on the runtime, or whose profile has
 * rules that nothing enforces.
 * @throws PortcullisError RUNTIME_PROFILE_NOT_ENFORCED, RUNTIME_OUTSIDE_PROFILE
 */
export function checkBounds({ bounds, peers }: Pick<Settings, 'bounds' | 'peers'>, facts: Facts): void {
  if (peers !== undefined && facts.hostNetwork) {
    throw new PortcullisError({
      code: 'RUNTIME_PROFILE_NOT_ENFORCED',
      kind: 'precondition',
      attempted: 'create container',
      on: '',
      why: `its profile or ceiling has peer rules (network.${Object.keys(peers).join(', network.')}), and nothing enforces them in the host's network`,
      fix: 'run the pod without hostNetwork, or remove these rules from the profile and its ceilings',
      details: { rules: Object.keys(peers) },
    });
  }
  const broken = [
    ...(bounds?.nonRoot === true && facts.uid === 0 && !facts.userNamespace
      ? [
          'no process may start as user 0 of the host, and its first process would: set runAsUser, or hostUsers: false',
        ]
      : []),
    ...(bounds?.ownNamespaces.includes('user') === true && !facts.userNamespace
      ? ['it must have a user namespace: set hostUsers: false']
      : []),
    ...(bounds?.ownNamespaces.includes('cgroup') === true && !facts.cgroupNamespace
      ? ['it must have a cgroup namespace, and on cgroup version 1, or privileged, it has none']
      : []),
    ...(bounds?.ownNamespaces.includes('time') === true && !facts.timeNamespace
      ? [
          'it must have a time namespace, and the probe of this runtime handler found no support for it: use runc 1.2 or later',
        ]
      : []),
  ];
  if (broken.length > 0) throw outsideProfile(broken);
}

/**
 * Returns resources within the profile's bounds: a value that was not requested is set to the bound. @throws
 * PortcullisError RUNTIME_OUTSIDE_PROFILE when a requested value exceeds a bound
 */
export function boundedResources(
  asked: LinuxContainerResources | undefined,
  resources: RuntimeBounds['resources'] | undefined,
): LinuxContainerResources | undefined {
  if (resources === undefined || Object.keys(resources).length === 0) return asked;
  const wanted = asked ?? nothingAsked;
  const { cpu, memory, swap } = resources;
  const broken: string[] = [];
  const unified = Object.keys(wanted.unified).filter(
    (key) => /^(cpu\.max|memory\.|pids\.)/.test(key) && !harmless.has(key),
  );
  if (unified.length > 0) broken.push(`${unified.join(', ')} under unified would bypass its bounds`);
  if (memory !== undefined && wanted.memoryLimitInBytes > memory)
    broken.push(`memory of ${wanted.memoryLimitInBytes} bytes is more than ${memory}`);
  const memoryLimit = wanted.memoryLimitInBytes > 0 ? wanted.memoryLimitInBytes : (memory ?? 0);
  const asksSwap = wanted.memorySwapLimitInBytes !== 0;
  if (swap !== undefined && memoryLimit === 0)
    broken.push('swap is limited, which requires a limit on memory: set one');
  else if (
    swap !== undefined &&
    asksSwap &&
    (wanted.memorySwapLimitInBytes < 0 || wanted.memorySwapLimitInBytes - memoryLimit > swap)
  )
    broken.push(
      `swap of ${wanted.memorySwapLimitInBytes} bytes with the memory is more than ${swap} beside it`,
    );
  const period = wanted.cpuPeriod > 0 ? wanted.cpuPeriod : 100_000;
  if (cpu !== undefined && wanted.cpuQuota * 1000 > cpu * period)
    broken.push(`${wanted.cpuQuota / period} CPUs are more than ${cpu / 1000}`);
  if (broken.length > 0) throw outsideProfile(broken);
  return {
    ...wanted,
    // -1 lifts the limit. 0 would leave the one that the kernel has.
    memoryLimitInBytes: memoryLimit > 0 ? memoryLimit : wanted.memoryLimitInBytes,
    ...(swap !== undefined && {
      memorySwapLimitInBytes: asksSwap ? wanted.memorySwapLimitInBytes : memoryLimit + swap,
    }),
    ...(cpu !== undefined &&
      (wanted.cpuQuota > 0 ? { cpuPeriod: period, cpuQuota: wanted.cpuQuota } : boundedQuota(cpu, period))),
  };
}

/** The least quota that the kernel accepts, in microseconds (kernel/sched/core.c, min_cfs_quota_period). */
const leastQuota = 1000;

/**
 * Returns the quota for a bound, in a longer period if the quota would be less than the kernel accepts.
 * @param cpu thousandths of a CPU, at least 1
 */
function boundedQuota(cpu: number, period: number): Pick<LinuxContainerResources, 'cpuPeriod' | 'cpuQuota'> {
  const cpuPeriod = Math.max(period, Math.ceil((leastQuota * 1000) / cpu));
  return { cpuPeriod, cpuQuota: Math.floor((cpu * cpuPeriod) / 1000) };
}

/**
 * Settings of cgroup version 2 that raise no limit: protection of the memory that the container uses within
 * its limit, and lower limits. A kubelet sets them for the quality of service of memory.
 */
const harmless: ReadonlySet<string> = new Set([
  'memory.high',
  'memory.low',
  'memory.min',
  'memory.oom.group',
  'memory.swap.high',
]);

/** A request in which every resource is unset. */
export const nothingAsked: LinuxContainerResources = {
  cpuPeriod: 0,
  cpuQuota: 0,
  cpuShares: 0,
  memoryLimitInBytes: 0,
  oomScoreAdj: 0,
  cpusetCpus: '',
  cpusetMems: '',
  hugepageLimits: [],
  unified: {},
  memorySwapLimitInBytes: 0,
};

/**
 * Returns the mounts for a profile with read-only volumes: recursively read-only where the runtime supports
 * it.
 */
export function boundedMounts(mounts: readonly Mount[], bounds: RuntimeBounds | undefined): readonly Mount[] {
  if (bounds?.readonlyVolumes !== true) return mounts;
  checkNoneShared(
    mounts.filter((mount) => mount.propagation !== MountPropagation.PROPAGATION_PRIVATE),
    ({ containerPath }) => containerPath,
  );
  return mounts.map((mount) => ({ ...mount, readonly: true, recursiveReadOnly: true }));
}

/** Options that read-only mounts replace (runtime-spec, config.md "Linux mount options"). */
const replacedOptions: ReadonlySet<string> = new Set(['ro', 'rw', 'rro', 'rrw', 'private', 'rprivate']);

const sharingOptions: ReadonlySet<string> = new Set(['shared', 'rshared', 'slave', 'rslave']);

/**
 * As {@link boundedMounts}, for mounts that are not requested as volumes: those of CDI specs.
 * @throws PortcullisError RUNTIME_OUTSIDE_PROFILE, RUNTIME_RRO_UNSUPPORTED
 */
export function boundedOciMounts(
  mounts: readonly OciMount[],
  bounds: RuntimeBounds | undefined,
  features: Pick<HandlerFeatures, 'recursiveReadOnlyMounts'>,
): readonly OciMount[] {
  if (bounds?.readonlyVolumes !== true) return mounts;
  checkNoneShared(
    mounts.filter(({ options }) => options.some((option) => sharingOptions.has(option))),
    ({ destination }) => destination,
  );
  return mounts.map((mount) => ({
    ...mount,
    options: [
      ...mount.options.filter((option) => !replacedOptions.has(option)),
      // Without a propagation, a mount gets what is mounted on the host later.
      'rprivate',
      recursivelyReadOnly(mount.destination, features),
    ],
  }));
}

function checkNoneShared<T>(shared: readonly T[], placeOf: (mount: T) => string): void {
  if (shared.length === 0) return;
  const paths = shared.map(placeOf).join(', ');
  throw outsideProfile([
    `volumes must be read-only, and mounts that appear later in ${paths} would be writable: use private propagation for these volumes`,
  ]);
}

/**
 * The error for a container that its profile or ceiling does not allow.
 * @param broken what is not met, one sentence each
 */
export function outsideProfile(broken: readonly string[]): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_OUTSIDE_PROFILE',
    kind: 'denied',
    attempted: 'run container within its profile',
    on: '',
    why: `it violates its profile or ceiling: ${broken.join('; ')}`,
    fix: 'change the container to comply with the profile, or set a ceiling that allows it in the policy rule that admits this image',
    details: { refused: broken },
  });
}
