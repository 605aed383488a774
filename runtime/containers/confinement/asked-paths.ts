import { PortcullisError } from '../../../base/errors/index.ts';

const longest = 4096;

/**
 * Returns the paths that a container requests as masked or read-only, as given. A path that is not normalized
 * could match other paths when the profile is compared (all paths are below `/`), and no path in the OCI
 * runtime: paths that the ceiling masks would then be accessible. Pure.
 * @throws PortcullisError RUNTIME_BAD_MASKED_PATH
 */
export function askedPaths(
  field: 'masked_paths' | 'readonly_paths',
  paths: readonly string[],
): readonly string[] {
  for (const path of paths) {
    const [root, ...parts] = path.split('/');
    const isClean =
      root === '' && parts.length > 0 && parts.every((part) => part !== '' && part !== '.' && part !== '..');
    if (isClean && path.length <= longest && !/\p{Cc}/u.test(path)) continue;
    throw new PortcullisError({
      code: 'RUNTIME_BAD_MASKED_PATH',
      kind: 'invalid',
      attempted: `create container with ${field}`,
      on: JSON.stringify(path.slice(0, 200)),
      why: 'it is not an absolute path below / without empty parts, "." and ".."',
      fix: 'give normalized absolute paths, such as /proc/kcore',
    });
  }
  return paths;
}
