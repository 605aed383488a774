import { basename } from 'node:path/posix';

/**
 * Returns the files of modules and of everything that they need, in the order in which they must be loaded.
 * @param dependencies text of `modules.dep` (depmod(8)): each line is a file, a colon, and what it needs, the
 *   module to load first last
 * @param builtin text of `modules.builtin`: files of modules that are part of the kernel
 * @throws Error if the kernel has no such module
 */
export function loadOrder(
  names: readonly string[],
  dependencies: string,
  builtin: string,
): readonly string[] {
  const needed = new Map<string, readonly string[]>();
  for (const line of dependencies.split('\n')) {
    const [file = '', rest = ''] = line.split(':');
    if (file !== '')
      needed.set(nameOf(file), [
        ...rest
          .split(' ')
          .filter((one) => one !== '')
          .reverse(),
        file,
      ]);
  }
  const inKernel = new Set(
    builtin
      .split('\n')
      .filter((line) => line !== '')
      .map(nameOf),
  );
  const order = new Set<string>();
  for (const name of names) {
    const files = needed.get(nameOf(name));
    if (files !== undefined) for (const file of files) order.add(file);
    else if (!inKernel.has(nameOf(name))) throw new Error(`the kernel has no module ${name}`);
  }
  return [...order];
}

/** The kernel writes `_` for every `-` in the name of a module. */
const nameOf = (file: string): string =>
  basename(file)
    .replace(/\.ko(?:\.[a-z]+)?$/u, '')
    .replaceAll('-', '_');
