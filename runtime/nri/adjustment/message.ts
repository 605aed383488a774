import type { Init } from '../../../base/protobuf/index.ts';
import type {
  ContainerAdjustment,
  FieldOwners,
  Hook,
  LinuxContainerAdjustment,
  LinuxDevice,
  LinuxResources,
  LinuxSeccomp,
  Mount,
  POSIXRlimit,
} from '../protocol/contract.types.ts';
import { hookKinds } from './change.ts';
import type { KindedHook } from './change.ts';
import type { Merged, OwnedChange } from './merge.ts';

/** Numbers of fields for the owners of an adjustment (nri, pkg/api/api.proto, Field). */
const numbers: Readonly<Record<string, number>> = {
  annotation: 1,
  mount: 2,
  hook: 3,
  device: 4,
  'cdi-device': 5,
  env: 6,
  args: 7,
  'memory.limit': 8,
  'memory.swap': 10,
  'cpu.shares': 16,
  'cpu.quota': 17,
  'cpu.period': 18,
  'cpu.cpus': 21,
  'cpu.mems': 22,
  hugepages: 24,
  unified: 27,
  'oom-score-adj': 29,
  rlimit: 30,
  'seccomp-policy': 32,
};

/** Fields that have several entries, each with its own owner. */
const compound: ReadonlySet<string> = new Set([
  'annotation',
  'mount',
  'device',
  'cdi-device',
  'env',
  'hugepages',
  'unified',
  'rlimit',
]);

/** Returns the merged changes as one adjustment, for plugins that validate. Pure. */
export function adjustmentMessage(merged: Merged): Init<ContainerAdjustment> {
  const of = (field: string): readonly OwnedChange[] => merged.set.filter((change) => change.field === field);
  const marked = (field: string): readonly string[] =>
    merged.removed.filter((removal) => removal.field === field).map(({ key }) => `-${key}`);
  const texts = (field: string): Record<string, string> =>
    Object.fromEntries([
      ...marked(field).map((key) => [key, ''] as const),
      ...of(field).map(({ key, value }) => [key, String(value)] as const),
    ]);
  const hooks = of('hook').map(({ value }) => value as KindedHook);
  return {
    annotations: texts('annotation'),
    mounts: [
      ...marked('mount').map((destination) => ({ destination })),
      ...of('mount').map(({ value }) => value as Mount),
    ],
    env: Object.entries(texts('env')).map(([key, value]) => ({ key, value })),
    args: (of('args')[0]?.value ?? []) as readonly string[],
    hooks: Object.fromEntries(
      hookKinds.map((kind): [string, Hook[]] => [
        kind,
        hooks.filter((one) => one.kind === kind).map(({ hook }) => hook),
      ]),
    ),
    rlimits: of('rlimit').map(({ value }) => value as POSIXRlimit),
    cdiDevices: of('cdi-device').map(({ key }) => ({ name: key })),
    linux: linuxMessage(of, marked('device')),
  };
}

function linuxMessage(
  of: (field: string) => readonly OwnedChange[],
  removedDevices: readonly string[],
): Init<LinuxContainerAdjustment> {
  const seccomp = of('seccomp-policy')[0]?.value as LinuxSeccomp | undefined;
  return {
    devices: [
      ...removedDevices.map((path) => ({ path })),
      ...of('device').map(({ value }) => value as LinuxDevice),
    ],
    oomScoreAdj: numberIn(of, 'oom-score-adj'),
    ...(seccomp !== undefined && { seccompPolicy: seccomp }),
    resources: resourcesIn(of),
  };
}

/** Returns the resources that the merged changes set, for plugins that validate. Pure. */
export function changedResources({ set }: Merged): Init<LinuxResources> {
  return resourcesIn((field) => set.filter((change) => change.field === field));
}

function resourcesIn(of: (field: string) => readonly OwnedChange[]): Init<LinuxResources> {
  const number = (field: string): { value: number } | undefined => numberIn(of, field);
  const text = (field: string): string => (of(field)[0]?.value ?? '') as string;
  return {
    memory: { limit: number('memory.limit'), swap: number('memory.swap') },
    cpu: {
      shares: number('cpu.shares'),
      quota: number('cpu.quota'),
      period: number('cpu.period'),
      cpus: text('cpu.cpus'),
      mems: text('cpu.mems'),
    },
    hugepageLimits: of('hugepages').map(({ key, value }) => ({ pageSize: key, limit: Number(value) })),
    unified: Object.fromEntries(of('unified').map(({ key, value }) => [key, String(value)])),
  };
}

function numberIn(
  of: (field: string) => readonly OwnedChange[],
  field: string,
): { value: number } | undefined {
  const [change] = of(field);
  return change === undefined ? undefined : { value: Number(change.value) };
}

/** Returns who set which field of one container, for plugins that validate. Pure. */
export function ownersMessage({ set }: Merged): Init<FieldOwners> {
  const groups = Map.groupBy(set, ({ field }) => field);
  const numbered = [...groups].flatMap(([field, changes]) => {
    const number = numbers[field];
    return number === undefined ? [] : [{ field, number, changes }];
  });
  return {
    simple: numbered
      .filter(({ field }) => !compound.has(field))
      .map(({ number, changes }) => ({
        key: number,
        value: [...new Set(changes.map(({ plugin }) => plugin))].join(','),
      })),
    compound: numbered
      .filter(({ field }) => compound.has(field))
      .map(({ number, changes }) => ({
        key: number,
        value: { owners: Object.fromEntries(changes.map(({ key, plugin }) => [key, plugin])) },
      })),
  };
}
