import { containerCgroup, processCgroup } from '../cgroups/cgroup-driver.ts';
import type { ContainerRecord } from '../containers/record.ts';
import type { SandboxRecord } from '../pods/record.ts';
import type { CgroupTarget } from './cgroup-stats.types.ts';

/** Which cgroups are read for pods and containers. Pure. */

export function sandboxTarget({ id, cgroupParent }: SandboxRecord): CgroupTarget {
  return { id, cgroup: cgroupParent };
}

/** @param runtimeKind returns the type of a runtime handler's program */
export function containerTargets(
  records: readonly ContainerRecord[],
  sandboxes: readonly SandboxRecord[],
  runtimeKind: (handler: string) => string | undefined,
): CgroupTarget[] {
  const byId = new Map(sandboxes.map((record) => [record.id, record]));
  return records.flatMap(({ id, sandboxId, init, phase, runtimeHandler }) => {
    const sandbox = byId.get(sandboxId);
    if (sandbox === undefined) return [];
    return [
      {
        id,
        cgroup: processCgroup(containerCgroup(sandbox.cgroupParent, id), runtimeKind(runtimeHandler)),
        ...(phase === 'running' && init !== undefined && { pid: init.pid }),
        ...(phase === 'exited' && { hasEnded: true }),
      },
    ];
  });
}

export const isRunning = ({ phase }: ContainerRecord): boolean => phase === 'running';

export const isReady = ({ phase }: SandboxRecord): boolean => phase === 'ready';

export function hasRun({ phase, startedAt }: ContainerRecord): boolean {
  return phase === 'running' || (phase === 'exited' && startedAt !== '0');
}
