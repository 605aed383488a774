import { readFileSync } from 'node:fs';
import { hasNoAnswer } from '../host-paths/host-paths.ts';
import type { HostPaths } from '../host-paths/host-paths.ts';
import { openAdvisories } from './advisories.ts';
import { launcherOf } from './launcher-name.ts';
import { areLocal, isWholeTable } from './local-mounts.ts';
import { parseMountinfo } from './mountinfo.ts';
import { checkPlace } from './place-check.ts';
import type { CommandPlace } from './place-check.ts';
import type { RuntimeHandler } from './runtime-handler.ts';
import type { OciSpec } from './spec.types.ts';
import { badWorkingDir } from './working-dir.ts';

export type { CommandPlace } from './place-check.ts';

export function commandPlace(spec: Pick<OciSpec, 'mounts' | 'process'>): CommandPlace {
  const launcher = launcherOf(spec);
  return { cwd: spec.process.cwd, ...(launcher !== undefined && { launcher }) };
}

/**
 * Checks, just before a command is started, that the container has not changed what the command depends on. Not for runtimes whose first
 * process is not in the container (a virtual machine, a kernel in user space): the host does not see what is mounted there. A container
 * with a volume of somebody else's server is looked at by a process that can be lost: nothing of it is opened here.
 * @throws PortcullisError RUNTIME_LAUNCHER_REPLACED, RUNTIME_BAD_WORKING_DIR; RUNTIME_CONTAINER_ROOT_UNKNOWN
 */
export async function checkCommandPlace(
  target: { readonly id: string; readonly init: number; readonly handler: Pick<RuntimeHandler, 'kind' | 'version'> },
  place: CommandPlace,
  paths: Pick<HostPaths, 'checkPlace'>,
): Promise<void> {
  if (place.launcher === undefined && (place.cwd === '/' || target.handler.kind === 'other')) return;
  const asked = { container: target.id, init: target.init, place, runtimeChecks: checksWorkingDir(target.handler) };
  if (hasOnlyLocalMounts(target.init, target.id)) return checkPlace(asked);
  await paths.checkPlace(asked).catch((thrown: unknown) => {
    if (!hasNoAnswer(thrown)) throw thrown;
    throw badWorkingDir(target.id, place.cwd, `a volume of the container cannot be looked at: ${thrown.failure.why}`);
  });
}

/**
 * Whether no flaw is known by which a working directory leads this runtime to the host. crun never had it, and from 1.14.1 on verifies the folder
 * that it has entered, as runc does from 1.1.12 on. A fix that a distribution backported is not seen.
 */
function checksWorkingDir({ kind, version }: Pick<RuntimeHandler, 'kind' | 'version'>): boolean {
  return kind !== 'other' && openAdvisories(kind, version, () => false).every(({ cve }) => cve !== 'CVE-2024-21626');
}

function hasOnlyLocalMounts(pid: number, container: string): boolean {
  let mountinfo: string;
  try {
    mountinfo = readFileSync(`/proc/${pid}/mountinfo`, 'utf8');
  } catch {
    // Nothing is known of them. Where the process is gone, the look at its root says so.
    return false;
  }
  return isWholeTable(mountinfo, container) && areLocal(parseMountinfo(mountinfo));
}
