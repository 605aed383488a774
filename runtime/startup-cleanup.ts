import { join } from 'node:path';
import { isMountpoint } from '../base/kernel/index.ts';
import type { Logger } from '../base/log/index.ts';
import type { Checkpoints } from './checkpoints/checkpoints.ts';
import { endLeftovers } from './containers/leftover-execs.ts';
import { finishReopens } from './containers/logs/log-recovery.ts';
import type { ContainerService } from './containers/container-service.ts';
import type { SandboxService } from './pods/sandbox-service.ts';
import { settleActs } from './state/settle.ts';
import type { Unsettled } from './state/settle.ts';
import { sweepUnclaimed } from './sweep.ts';

type Sweep = Parameters<typeof sweepUnclaimed>[0];

/**
 * Cleans up what an earlier run left, before the daemon serves. A cleanup that fails is logged and returned;
 * the next start tries it again.
 * @returns what is left, and why
 */
export async function bringInOrder(parts: {
  readonly execs: Omit<Parameters<typeof endLeftovers>[1], 'handlers'>;
  readonly handlers: Parameters<typeof endLeftovers>[1]['handlers'] & { values(): Sweep['handlers'] };
  readonly checkpoints: Pick<Checkpoints, 'recover'>;
  readonly containers: Pick<ContainerService, 'recover'>;
  readonly sandboxes: Pick<SandboxService, 'recover'>;
  readonly records: {
    readonly containers: { list(): Sweep['containers'] };
    readonly sandboxes: { list(): Sweep['sandboxes'] };
  };
  readonly sweep: Omit<Sweep, 'containers' | 'sandboxes' | 'handlers'>;
  readonly paths: Parameters<typeof finishReopens>[2];
  readonly log: Logger;
}): Promise<readonly Unsettled[]> {
  const { records, handlers } = parts;
  const alive = (dir: string): boolean => isMountpoint(join(dir, 'ipc')) || isMountpoint(join(dir, 'net'));
  const left = [
    // First: it may have frozen a container.
    ...(await parts.checkpoints.recover()),
    ...(await settleActs(
      records.containers.list().map((container) => ({
        on: `commands in container ${container.id}`,
        act: () => endLeftovers([container], { ...parts.execs, handlers }),
      })),
    )),
    // Containers first: recovering a sandbox stops the containers that it still has.
    ...(await settleActs([{ on: 'containers', act: () => parts.containers.recover() }])),
    ...(await finishReopens(parts.sweep.folders.monitorLogs, records.containers.list(), parts.paths)),
    ...(await settleActs([{ on: 'sandboxes', act: () => parts.sandboxes.recover(alive) }])),
    ...(await sweepUnclaimed({
      ...parts.sweep,
      containers: records.containers.list(),
      sandboxes: records.sandboxes.list(),
      handlers: handlers.values(),
    })),
  ];
  for (const { on, why } of left)
    parts.log.error(
      { on, cause: why },
      'leftovers of an earlier run could not be cleaned up: the daemon serves, and the next start tries again',
    );
  return left;
}
