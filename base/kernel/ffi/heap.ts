import { glibc } from './libc.ts';

const mallocTrim = glibc('malloc_trim', 'int', ['size_t']);
const mallopt = glibc('mallopt', 'int', ['int', 'int']);

/** Parameters of mallopt(3). */
const [M_TRIM_THRESHOLD, M_MMAP_THRESHOLD] = [-1, -3];

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
