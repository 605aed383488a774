import { PortcullisError } from '../../base/errors/index.ts';

const longest = 4096;

/**
 * Paths that a container asks to have masked or read-only, as they are given. One that is no clean path of its own would stand for others in the profile's
 * order (all lies below `/`) and for nothing in the OCI runtime, so that what the ceiling keeps masked would be open. Pure.
 * @throws PortcullisError RUNTIME_BAD_MASKED_PATH
 */
export function askedPaths(field: 'masked_paths' | 'readonly_paths', paths: readonly string[]): readonly string[] {
  for (const path of paths) {
    const [root, ...parts] = path.split('/');
    const isClean = root === '' && parts.length > 0 && parts.every((part) => part !== '' && part !== '.' && part !== '..');
    if (isClean && path.length <= longest && !/\p{Cc}/u.test(path)) continue;
    throw new PortcullisError({
      code: 'RUNTIME_BAD_MASKED_PATH',
      kind: 'invalid',
      attempted: `create container with ${field}`,
      on: JSON.stringify(path.slice(0, 200)),
      why: 'it is not an absolute path below / without empty parts, "." and ".."',
      fix: 'give clean absolute paths, such as /proc/kcore',
    });
  }
  return paths;
}
