import type { LinuxContainerResources } from '../../cri/contract/contract.types.ts';
import type { OwnedChange } from './merge.ts';
import { badAdjustment, unsupported } from './refusal.ts';

/** Fields of CRI by the fields of an adjustment. */
const numbers: Readonly<Record<string, NumericField>> = {
  'memory.limit': 'memoryLimitInBytes',
  'memory.swap': 'memorySwapLimitInBytes',
  'cpu.shares': 'cpuShares',
  'cpu.quota': 'cpuQuota',
  'cpu.period': 'cpuPeriod',
};

type NumericField = 'memoryLimitInBytes' | 'memorySwapLimitInBytes' | 'cpuShares' | 'cpuQuota' | 'cpuPeriod';

const texts: Readonly<Record<string, 'cpusetCpus' | 'cpusetMems'>> = {
  'cpu.cpus': 'cpusetCpus',
  'cpu.mems': 'cpusetMems',
};

const resourceField = /^(memory|cpu|pids)\.|^(hugepages|unified|blockio-class|rdt-class|device-rule)$/;

/** Whether a field belongs to the resources of a container. */
export function isResource(field: string): boolean {
  return resourceField.test(field);
}

/**
 * Returns the resources with the changes of plugins. Pure. A later check, as for every request, decides
 * whether this host supports the values.
 * @throws PortcullisError NRI_UNSUPPORTED, NRI_BAD_ADJUSTMENT
 */
export function withResources(
  base: LinuxContainerResources,
  changes: readonly OwnedChange[],
): LinuxContainerResources {
  let result = base;
  for (const change of changes) result = { ...result, ...resource(result, change) };
  return result;
}

function resource(current: LinuxContainerResources, change: OwnedChange): Partial<LinuxContainerResources> {
  const { field, key, value } = change;
  const number = numbers[field];
  if (number !== undefined && typeof value === 'number') {
    // In CRI, 0 means that nothing is requested: the change would be ignored without a message.
    if (value === 0)
      throw badAdjustment(change, 'its value is 0, which requests nothing', 'set another value');
    return { [number]: value };
  }
  const text = texts[field];
  if (text !== undefined && typeof value === 'string') return { [text]: value };
  if (field === 'unified' && typeof value === 'string')
    return { unified: { ...current.unified, [key]: value } };
  if (field === 'hugepages' && typeof value === 'number') {
    const others = current.hugepageLimits.filter(({ pageSize }) => pageSize !== key);
    return { hugepageLimits: [...others, { pageSize: key, limit: value }] };
  }
  throw unsupported(
    change,
    'Portcullis does not support this resource',
    'configure the plugin so that it does not set it',
  );
}
