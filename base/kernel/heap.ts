import { glibc } from './libc.ts';

const mallocTrim = glibc('malloc_trim', 'int', ['size_t']);

/** malloc_trim(3): returns to the kernel what the C library keeps of freed memory. A millisecond or two. glibc has it, other libraries throw. */
export function trimHeap(): void {
  mallocTrim(0);
}
