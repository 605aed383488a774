import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PortcullisError } from '../../base/errors/index.ts';
import { unlessUnknown } from './cgroups.ts';
import type { LinuxContainerResources } from '../cri/contract/contract.types.ts';
import type { CgroupMounts } from './cgroups.ts';

/** The error of a memory limit below what is used. */
export const limitInUse = {
  code: 'RUNTIME_LIMIT_IN_USE',
  kind: 'precondition',
  fix: 'more memory is in use than the new limit: let the processes free memory, or set a higher limit',
} as const;

/** Memory that the kernel can free while processes run, by the keys of `memory.stat`. */
const freeable = ['active_file', 'inactive_file', 'slab_reclaimable'];

/**
 * Refuses a lower memory limit that the cgroup cannot keep. With version 2, the kernel accepts each limit,
 * and kills processes of the cgroup until it is kept; version 1 refuses the limit itself.
 * Source: cgroup-v2.rst, "memory.max".
 * @param wanted the limits after the update, in bytes; 0: as before, -1: no limit
 * @throws PortcullisError RUNTIME_LIMIT_IN_USE
 */
export async function requireMemoryFits(
  { version, roots: [root] }: CgroupMounts,
  path: string,
  wanted: Pick<LinuxContainerResources, 'memoryLimitInBytes' | 'memorySwapLimitInBytes' | 'unified'>,
): Promise<void> {
  const { memoryLimitInBytes, memorySwapLimitInBytes: both, unified } = wanted;
  const [one, other] = [memoryLimitInBytes, kernelBytes(unified['memory.max'])];
  const limitBytes = Math.min(one > 0 ? one : Infinity, other >= 0 ? other : Infinity);
  if (version !== 2 || root === undefined || limitBytes === Infinity) return;
  const read = (name: string): Promise<string> =>
    readFile(join(root, path, name), 'utf8').catch(unlessUnknown(''));
  const [limit, current] = await Promise.all([read('memory.max'), read('memory.current')]);
  if (Number(limit) <= limitBytes || !(Number(current) > limitBytes)) return;
  const stat = await read('memory.stat');
  const freeableBytes = freeable.reduce((sum, key) => sum + numberAfter(key, stat), 0);
  const swapLimit = both > 0 ? both - limitBytes : Infinity;
  const usedBytes = Number(current) - freeableBytes - (await swapRoom(read, swapLimit));
  if (usedBytes <= limitBytes) return;
  throw new PortcullisError({
    ...limitInUse,
    attempted: `lower the memory limit of cgroup ${path} to`,
    on: `${limitBytes} bytes`,
    why: `${usedBytes} bytes are in use that the kernel cannot free without ending processes`,
  });
}

const suffixes = ['', 'k', 'm', 'g', 't', 'p', 'e'];

/**
 * Returns the bytes that the kernel reads in a setting; NaN for a text that is no number, such as `max`.
 * Source: memparse, lib/cmdline.c.
 */
function kernelBytes(text = ''): number {
  const [, digits, suffix = ''] = /^\s*(0x[\da-f]+|\d+)([kmgtpe]?)/iu.exec(text) ?? [];
  // A leading zero means octal.
  return Number(digits?.replace(/^0(?=\d)/u, '0o')) * 1024 ** suffixes.indexOf(suffix.toLowerCase());
}

/** Returns how many bytes the kernel may move from memory to swap, by the limit in force and another one. */
async function swapRoom(read: (name: string) => Promise<string>, other: number): Promise<number> {
  const [limit, current] = await Promise.all([read('memory.swap.max'), read('memory.swap.current')]);
  // Without accounting of swap there is no file, and no limit.
  const inForce = ['', 'max'].includes(limit.trim()) ? Infinity : Number(limit);
  const room = Math.min(inForce, other) - Number(current);
  if (!(room > 0)) return 0;
  const host = await readFile('/proc/meminfo', 'utf8');
  return Math.min(room, numberAfter('SwapFree:', host) * 1024);
}

function numberAfter(key: string, text: string): number {
  return Number(new RegExp(`^${key} +(\\d+)`, 'mu').exec(text)?.[1] ?? 0);
}
