import { readFileSync } from 'node:fs';
import { attempt } from '../../base/errors/index.ts';
import { hasNoAnswer } from '../host-paths/host-paths.ts';
import type { HostPaths } from '../host-paths/host-paths.ts';
import { openAdvisories } from './advisories.ts';
import { launcherOf } from './launched-command.ts';
import { areLocal, isWholeTable } from '../container-mounts/local-mounts.ts';
import { parseMountinfo } from '../container-mounts/mountinfo.ts';
import { checkPlace } from '../container-mounts/command-paths-check.ts';
import type { CommandPlace } from '../container-mounts/command-paths-check.ts';
import type { RuntimeHandler } from './runtime-handler.ts';
import type { OciSpec } from './spec.types.ts';
import { badWorkingDir } from '../container-mounts/working-dir.ts';

export type { CommandPlace } from '../container-mounts/command-paths-check.ts';

export function commandPlace(spec: Pick<OciSpec, 'mounts' | 'process'>): CommandPlace {
  const launcher = launcherOf(spec);
  return { cwd: spec.process.cwd, ...(launcher !== undefined && { launcher }) };
}

/**
 * Checks, just before a command starts, that the container has not changed anything that the command depends
 * on. The check is skipped for runtimes whose first process is not in the container (a virtual machine, a
 * kernel in user space), because the host does not see the mounts there. A container with a volume of a
 * remote server is checked in a separate process that may hang: this process opens no file of such a
 * container.
 * @throws PortcullisError RUNTIME_LAUNCHER_REPLACED, RUNTIME_BAD_WORKING_DIR; RUNTIME_CONTAINER_ROOT_UNKNOWN
 */
export async function checkCommandPlace(
  target: {
    readonly id: string;
    readonly init: number;
    readonly handler: Pick<RuntimeHandler, 'kind' | 'version'> & { readonly showsMounts: boolean };
  },
  place: CommandPlace,
  paths: Pick<HostPaths, 'checkPlace'>,
): Promise<void> {
  if (place.launcher === undefined && (place.cwd === '/' || !target.handler.showsMounts)) return;
  const asked = {
    container: target.id,
    init: target.init,
    place,
    runtimeChecks: checksWorkingDir(target.handler),
  };
  if (hasOnlyLocalMounts(target.init, target.id)) return checkPlace(asked);
  await paths.checkPlace(asked).catch((thrown: unknown) => {
    if (!hasNoAnswer(thrown)) throw thrown;
    throw badWorkingDir(
      target.id,
      place.cwd,
      `a volume of the container cannot be checked: ${thrown.failure.why}`,
    );
  });
}

/**
 * Reports whether this runtime is free of the known vulnerability in which a working directory leads to the
 * host. crun never had it. crun from 1.14.1 and runc from 1.1.12 also verify the folder that they have
 * entered. A fix that a distribution backported is not detected.
 */
function checksWorkingDir({ kind, version }: Pick<RuntimeHandler, 'kind' | 'version'>): boolean {
  return (
    kind !== 'other' &&
    openAdvisories(kind, version, () => false).every(({ cve }) => cve !== 'CVE-2024-21626')
  );
}

function hasOnlyLocalMounts(pid: number, container: string): boolean {
  const mountinfo = attempt(() => readFileSync(`/proc/${pid}/mountinfo`, 'utf8'));
  // The mounts are unknown. If the process no longer exists, the check of its root reports that.
  if (mountinfo === undefined) return false;
  return isWholeTable(mountinfo, container) && areLocal(parseMountinfo(mountinfo));
}
