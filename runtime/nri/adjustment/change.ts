import { append } from '../../../base/lists/index.ts';
import { cleanContainerPath } from '../../oci/container-path.ts';
import type {
  ContainerAdjustment,
  Hook,
  Hooks,
  LinuxContainerAdjustment,
  LinuxResources,
} from '../protocol/contract.types.ts';

/** One entry of an adjustment: a field, the key of the entry in this field, and the new value. */
export interface Change {
  /** Such as `mount`, `env` or `memory.limit`. */
  readonly field: string;
  /** Such as the path in the container; empty for a field with a single value. */
  readonly key: string;
  readonly value: unknown;
}

/** An entry that a plugin removes (its key has the mark `-` on the wire). */
export type Removal = Omit<Change, 'value'>;

/** An adjustment as single entries. */
export interface Changes {
  readonly set: readonly Change[];
  readonly removed: readonly Removal[];
}

/** Kinds of hooks by their names in the contract. */
export const hookKinds = [
  'prestart',
  'createRuntime',
  'createContainer',
  'startContainer',
  'poststart',
  'poststop',
] as const satisfies readonly (keyof Hooks)[];

/** An OCI hook, and when it runs. */
export interface KindedHook {
  readonly kind: (typeof hookKinds)[number];
  readonly hook: Hook;
}

/**
 * Splits an adjustment into entries. Pure. Nothing is omitted: a part that Portcullis does not support also
 * becomes an entry, so that it can be refused.
 * Source: nri, pkg/api/adjustment.go and helpers.go (marks of removal).
 */
export function changesOf(adjust: ContainerAdjustment): Changes {
  const set: Change[] = [];
  const removed: Removal[] = [];
  const entry = (field: string, marked: string, value: unknown): void => {
    // One path can be written in several ways.
    const keyOf = field === 'mount' || field === 'device' ? cleanContainerPath : String;
    if (marked.startsWith('-')) removed.push({ field, key: keyOf(marked.slice(1)) });
    else set.push({ field, key: keyOf(marked), value });
  };
  for (const [key, value] of Object.entries(adjust.annotations)) entry('annotation', key, value);
  for (const mount of adjust.mounts) entry('mount', mount.destination, mount);
  for (const { key, value } of adjust.env) entry('env', key, value);
  const [first, ...rest] = adjust.args;
  // An empty first argument removes the command that an earlier plugin set (UpdateArgs).
  if (first === '') removed.push({ field: 'args', key: '' });
  if (first !== undefined) set.push({ field: 'args', key: '', value: first === '' ? rest : adjust.args });
  for (const kind of hookKinds)
    for (const hook of adjust.hooks?.[kind] ?? [])
      set.push({ field: 'hook', key: hook.path, value: { kind, hook } });
  for (const limit of adjust.rlimits) set.push({ field: 'rlimit', key: limit.type, value: limit });
  for (const { name } of adjust.cdiDevices) set.push({ field: 'cdi-device', key: name, value: name });
  if (adjust.linux !== undefined) linuxChanges(adjust.linux, set, entry);
  return { set, removed };
}

function linuxChanges(
  linux: LinuxContainerAdjustment,
  set: Change[],
  entry: (field: string, marked: string, value: unknown) => void,
): void {
  for (const device of linux.devices) entry('device', device.path, device);
  for (const namespace of linux.namespaces) entry('namespace', namespace.type, namespace);
  for (const [key, value] of Object.entries(linux.sysctl)) entry('sysctl', key, value);
  for (const [key, value] of Object.entries(linux.netDevices)) entry('net-device', key, value);
  if (linux.resources !== undefined) append(set, resourceChanges(linux.resources));
  const once: Readonly<Record<string, unknown>> = {
    'cgroups-path': linux.cgroupsPath === '' ? undefined : linux.cgroupsPath,
    'oom-score-adj': linux.oomScoreAdj?.value,
    'io-priority': linux.ioPriority,
    'seccomp-policy': linux.seccompPolicy,
    scheduler: linux.scheduler,
    rdt: linux.rdt,
    'memory-policy': linux.memoryPolicy,
  };
  for (const [field, value] of Object.entries(once))
    if (value !== undefined) set.push({ field, key: '', value });
}

/** Splits the resources of an adjustment or update into entries. Pure. */
export function resourceChanges({ memory, cpu, ...other }: LinuxResources): Change[] {
  const once: Readonly<Record<string, unknown>> = {
    'memory.limit': memory?.limit?.value,
    'memory.reservation': memory?.reservation?.value,
    'memory.swap': memory?.swap?.value,
    'memory.kernel': memory?.kernel?.value,
    'memory.kernel-tcp': memory?.kernelTcp?.value,
    'memory.swappiness': memory?.swappiness?.value,
    'memory.disable-oom-killer': memory?.disableOomKiller?.value,
    'memory.use-hierarchy': memory?.useHierarchy?.value,
    'cpu.shares': cpu?.shares?.value,
    'cpu.quota': cpu?.quota?.value,
    'cpu.period': cpu?.period?.value,
    'cpu.realtime-runtime': cpu?.realtimeRuntime?.value,
    'cpu.realtime-period': cpu?.realtimePeriod?.value,
    'cpu.cpus': cpu?.cpus === '' ? undefined : cpu?.cpus,
    'cpu.mems': cpu?.mems === '' ? undefined : cpu?.mems,
    'pids.limit': other.pids?.limit,
    'blockio-class': other.blockioClass?.value,
    'rdt-class': other.rdtClass?.value,
  };
  return [
    ...Object.entries(once).flatMap(([field, value]) =>
      value === undefined ? [] : [{ field, key: '', value }],
    ),
    ...other.hugepageLimits.map(({ pageSize, limit }) => ({
      field: 'hugepages',
      key: pageSize,
      value: limit,
    })),
    ...Object.entries(other.unified).map(([key, value]) => ({ field: 'unified', key, value })),
    ...other.devices.map((rule, index) => ({ field: 'device-rule', key: String(index), value: rule })),
  ];
}
