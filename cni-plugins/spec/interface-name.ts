/**
 * `all` and `default` are folders of sysctls beside those of the interfaces, so the kernel refuses these
 * names. It replaces `%d` by a number.
 */
const pattern = /^(?!(?:\.{1,2}|all|default)$)[^\s/:%\0]{1,15}$/u;

/** A byte of UTF-8, as in `à`, that the kernel takes for the no-break space of Latin-1 (lib/ctype.c). */
const noBreakSpace = 0xa0;

/** Returns whether an interface can be created with exactly this name. */
export function isInterfaceName(name: string): boolean {
  const bytes = Buffer.from(name);
  return bytes.length <= 15 && !bytes.includes(noBreakSpace) && pattern.test(name);
}
