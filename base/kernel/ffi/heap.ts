import { readFileSync, readlinkSync } from 'node:fs';
import { glibc } from './libc.ts';

const mallocTrim = glibc('malloc_trim', 'int', ['size_t']);
const mallopt = glibc('mallopt', 'int', ['int', 'int']);
const madvise = glibc('madvise', 'int', ['uint64', 'size_t', 'int']);

/** Parameters of mallopt(3). */
const [M_TRIM_THRESHOLD, M_MMAP_THRESHOLD] = [-1, -3];
/** Advice of madvise(2). */
const MADV_DONTNEED = 4;

/**
 * Calls malloc_trim(3), which returns freed memory that the C library keeps to the kernel. It takes a
 * millisecond or two. glibc has it; with other libraries this throws.
 */
export function trimHeap(): void {
  mallocTrim(0);
}

/**
 * Fixes the thresholds of the C library by mallopt(3): blocks from `mapFrom` bytes are mapped alone and
 * returned when they are freed, and free memory at the end of the heap is returned from `trimFrom` bytes.
 * glibc otherwise raises both each time a large block is freed, up to 32 and 64 MiB. Other libraries ignore
 * it or lack the function; then this throws.
 */
export function fixHeapThresholds(mapFrom: number, trimFrom: number): void {
  mallopt(M_MMAP_THRESHOLD, mapFrom);
  mallopt(M_TRIM_THRESHOLD, trimFrom);
}

/**
 * Unmaps the code and the constants of the running program by madvise(2). The page cache keeps them, and a
 * page is mapped again at its next use, which takes about a microsecond. Most of what a start maps is not
 * used afterwards. Takes half a millisecond, and the first call two.
 */
export function unmapProgram(): void {
  mapped ??= programMappings(readFileSync('/proc/self/maps', 'utf8'), readlinkSync('/proc/self/exe'));
  for (const { from, to } of mapped) madvise(from, to - from, MADV_DONTNEED);
}

/** The kernel maps the program once, before its first instruction. */
let mapped: ReturnType<typeof programMappings> | undefined;

/**
 * Returns the mappings of a program that no write can have changed, by proc_pid_maps(5). What the dynamic
 * linker relocated and then protected is read-only too; it is directly before the writable data.
 */
export function programMappings(
  maps: string,
  program: string,
): { readonly from: bigint; readonly to: bigint }[] {
  const all = maps
    .split('\n')
    .map((line) => /^([0-9a-f]+)-([0-9a-f]+) (r.{3}) \S+ \S+ \d+ +(.*)$/u.exec(line))
    .filter((found) => found !== null && found[4] === program)
    .map((found) => ({
      from: BigInt(`0x${found?.[1] ?? ''}`),
      to: BigInt(`0x${found?.[2] ?? ''}`),
      mode: found?.[3] ?? '',
    }));
  return all.filter(({ to, mode }, index) => {
    const next = all[index + 1];
    return (mode === 'r--p' || mode === 'r-xp') && !(next?.from === to && next.mode.includes('w'));
  });
}
