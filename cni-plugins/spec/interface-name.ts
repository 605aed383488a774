/**
 * `all` and `default` are folders of sysctls beside those of the interfaces, so the kernel refuses these
 * names. It replaces `%d` by a number.
 */
const pattern = /^(?!(?:\.{1,2}|all|default)$)[^\s/:%\0]{1,15}$/u;

/** Returns whether an interface can be created with exactly this name. */
export const isInterfaceName = (name: string): boolean => Buffer.byteLength(name) <= 15 && pattern.test(name);
