import { hasNoAnswer, isOf } from '../host-paths/host-paths.ts';
import type { HostPaths } from '../host-paths/host-paths.ts';
import type { OciMount, OciSpec } from './spec.types.ts';

/**
 * Returns the spec with plain read-only mounts in place of recursively read-only mounts of single files. crun
 * opens the place of the latter as a folder, and fails. Nothing is mounted below a file, so that both mean
 * the same.
 * @throws PortcullisError RUNTIME_PATH_NO_ANSWER
 */
export async function withPlainFileMounts(spec: OciSpec, paths: Pick<HostPaths, 'facts'>): Promise<OciSpec> {
  const mounts = await Promise.all(
    spec.mounts.map(async (mount) =>
      mount.type === 'bind' && mount.options.includes('rro') && (await isFile(mount.source, paths))
        ? { ...mount, options: mount.options.map((option) => (option === 'rro' ? 'ro' : option)) }
        : mount,
    ),
  );
  return { ...spec, mounts };
}

/**
 * Reports whether the source of a mount is a single file, of any type. A missing source will be created as a
 * folder.
 * @throws PortcullisError RUNTIME_PATH_NO_ANSWER
 */
export function isFile(source: OciMount['source'], paths: Pick<HostPaths, 'facts'>): Promise<boolean> {
  return paths.facts(source).then(
    (facts) => !isOf(facts, 'folder'),
    (thrown: unknown) => {
      if (hasNoAnswer(thrown)) throw thrown;
      return false;
    },
  );
}
