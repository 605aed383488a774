import { glibc } from './libc.ts';

const mallocTrim = glibc('malloc_trim', 'int', ['size_t']);

/**
 * Calls malloc_trim(3), which returns freed memory that the C library keeps to the kernel. It takes a
 * millisecond or two. glibc has it; with other libraries this throws.
 */
export function trimHeap(): void {
  mallocTrim(0);
}
