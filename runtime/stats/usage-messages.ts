import type {
  CpuUsage,
  FilesystemUsage,
  IoUsage,
  MemoryUsage,
  NetworkInterfaceUsage,
  NetworkUsage,
  PsiData,
  PsiStats,
  SwapUsage,
} from '../cri/contract/contract.types.ts';
import type { Init } from '../../base/protobuf/index.ts';
import { workingSetOf } from './cgroup-reading.ts';
import type { CgroupUsage } from './cgroup-reading.ts';
import type { Pressure, PressureShare } from './cgroup-values.ts';
import type { NetDevice } from './net-devices.ts';
import type { LayerUsage } from './writable-layers.ts';

/** The name of the interface of a pod's link (CNI). */
const defaultInterface = 'eth0';

/** cri-api CpuUsage. */
export function cpuUsage({ at, cpu }: CgroupUsage): Init<CpuUsage> | undefined {
  if (cpu === undefined) return undefined;
  return {
    timestamp: at,
    usageCoreNanoSeconds: { value: cpu.usageNs },
    ...(cpu.nanoCores !== undefined && { usageNanoCores: { value: cpu.nanoCores } }),
    ...(cpu.pressure !== undefined && { psi: psiStats(cpu.pressure) }),
  };
}

/**
 * cri-api MemoryUsage. Available memory is the part of the limit beyond the working set, and 0 without a
 * limit, as in a kubelet and containerd.
 */
export function memoryUsage({ at, memory }: CgroupUsage): Init<MemoryUsage> | undefined {
  if (memory === undefined) return undefined;
  const workingSet = workingSetOf(memory);
  return {
    timestamp: at,
    workingSetBytes: { value: workingSet },
    availableBytes: {
      value: memory.limitBytes === undefined ? 0 : Math.max(0, memory.limitBytes - workingSet),
    },
    usageBytes: { value: memory.usageBytes },
    rssBytes: { value: memory.rssBytes },
    pageFaults: { value: memory.pageFaults },
    majorPageFaults: { value: memory.majorPageFaults },
    ...(memory.pressure !== undefined && { psi: psiStats(memory.pressure) }),
  };
}

/** cri-api SwapUsage. Without a limit the available swap is unknown. */
export function swapUsage({ at, swap }: CgroupUsage): Init<SwapUsage> | undefined {
  if (swap === undefined) return undefined;
  return {
    timestamp: at,
    swapUsageBytes: { value: swap.usageBytes },
    ...(swap.limitBytes !== undefined && {
      swapAvailableBytes: { value: Math.max(0, swap.limitBytes - swap.usageBytes) },
    }),
  };
}

/** cri-api IoUsage, which contains only pressure. */
export function ioUsage({ at, ioPressure }: CgroupUsage): Init<IoUsage> | undefined {
  return ioPressure === undefined ? undefined : { timestamp: at, psi: psiStats(ioPressure) };
}

function psiStats({ some, full }: Pressure): Init<PsiStats> {
  return {
    ...(full !== undefined && { Full: psiData(full) }),
    ...(some !== undefined && { Some: psiData(some) }),
  };
}

function psiData({ totalNs, avg10, avg60, avg300 }: PressureShare): Init<PsiData> {
  return { Total: totalNs, Avg10: avg10, Avg60: avg60, Avg300: avg300 };
}

/** cri-api FilesystemUsage of a writable layer. */
export function layerUsage(
  mountpoint: string,
  { at, usedBytes, inodesUsed }: LayerUsage,
): Init<FilesystemUsage> {
  return {
    timestamp: at,
    fsId: { mountpoint },
    usedBytes: { value: usedBytes },
    inodesUsed: { value: inodesUsed },
  };
}

/** cri-api NetworkUsage: every interface except `lo`. The default interface is eth0, or else the first. */
export function networkUsage(at: bigint, devices: readonly NetDevice[]): Init<NetworkUsage> {
  const interfaces = devices.map(interfaceUsage);
  const byDefault = interfaces.find(({ name }) => name === defaultInterface) ?? interfaces[0];
  return { timestamp: at, interfaces, ...(byDefault !== undefined && { defaultInterface: byDefault }) };
}

function interfaceUsage({
  name,
  rxBytes,
  rxErrors,
  txBytes,
  txErrors,
}: NetDevice): Init<NetworkInterfaceUsage> {
  return {
    name,
    rxBytes: { value: rxBytes },
    rxErrors: { value: rxErrors },
    txBytes: { value: txBytes },
    txErrors: { value: txErrors },
  };
}
