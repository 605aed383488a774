import { glibc } from '../ffi/libc.ts';

const c = { syscall: glibc('syscall', 'int64', ['long', 'void *', 'size_t', 'uint']) };
const SYS_landlock_create_ruleset = 444;
const LANDLOCK_CREATE_RULESET_VERSION = 1;

/**
 * Returns the version of the kernel's Landlock (landlock_create_ruleset(2)); 0 if it is missing or disabled.
 */
export function landlockVersion(): number {
  return Math.max(0, c.syscall(SYS_landlock_create_ruleset, null, 0, LANDLOCK_CREATE_RULESET_VERSION));
}
