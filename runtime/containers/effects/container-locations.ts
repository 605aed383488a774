import { PortcullisError } from '../../../base/errors/index.ts';
import type { CgroupDriver, ContainerCgroup } from '../../cgroups/cgroup-driver.ts';
import { containerCgroup, podCgroup, processCgroup } from '../../cgroups/cgroup-driver.ts';
import type { RuntimeHandler } from '../../oci/runtime-handler.ts';
import { podTaskIn } from '../../pods/effects.ts';
import type { SandboxRecord } from '../../pods/record.ts';
import type { ContainerRecord } from '../record.ts';

export interface PlaceDeps {
  /** Returns the folder of one container: bundle, pid files, attach socket. */
  readonly bundle: (id: string) => string;
  readonly stateDir: string;
  /** By name; the empty name is the default handler. */
  readonly handlers: ReadonlyMap<string, RuntimeHandler>;
  readonly cgroupDriver: CgroupDriver;
  readonly sandbox: (id: string) => SandboxRecord | undefined;
}

/** Where a container is on this host. */
export interface ContainerPlaces {
  bundle(id: string): string;
  /** Returns the folder of the task that a pod has in its shim. */
  podTask(sandboxId: string): string;
  /** @throws PortcullisError RUNTIME_UNKNOWN_HANDLER when the configuration no longer names the handler */
  handler(record: ContainerRecord): RuntimeHandler;
  /** Returns undefined when the configuration no longer names the handler. */
  findHandler(record: ContainerRecord): RuntimeHandler | undefined;
  /** Returns the handler of a pod; undefined when the configuration no longer names it. */
  handlerOf(sandbox: Pick<SandboxRecord, 'runtimeHandler'>): RuntimeHandler | undefined;
  /** Whether the cgroups of the containers of a pod belong to systemd. */
  usesSystemd(sandbox: SandboxRecord): boolean;
  cgroup(record: ContainerRecord): ContainerCgroup;
  /** Returns the path of the cgroup that contains the process and its limits. */
  limits(record: ContainerRecord): string;
}

/** Finds the bundle, the OCI runtime and the cgroup of each container from its record. */
export function createPlaces({
  bundle,
  stateDir,
  handlers,
  cgroupDriver,
  sandbox,
}: PlaceDeps): ContainerPlaces {
  const findHandler = (record: Pick<ContainerRecord, 'runtimeHandler'>): RuntimeHandler | undefined =>
    handlers.get(record.runtimeHandler);
  const cgroup = (record: ContainerRecord): ContainerCgroup =>
    containerCgroup(
      sandbox(record.sandboxId)?.cgroupParent ?? podCgroup(cgroupDriver, '', record.sandboxId),
      record.id,
    );
  return {
    bundle,
    podTask: (sandboxId) => podTaskIn(stateDir, sandboxId),
    findHandler,
    handlerOf: findHandler,
    usesSystemd: ({ id, cgroupParent }) => containerCgroup(cgroupParent, id).systemd,
    handler: (record) => {
      const handler = findHandler(record);
      if (handler !== undefined) return handler;
      throw new PortcullisError({
        code: 'RUNTIME_UNKNOWN_HANDLER',
        kind: 'precondition',
        attempted: 'use runtime handler',
        on: record.runtimeHandler,
        why: 'it is no longer configured, or its program cannot be used',
        fix: 'add it again under "runtimes" in the configuration; if it is there, `portcullis doctor` says why it cannot be used',
      });
    },
    cgroup,
    limits: (record) => processCgroup(cgroup(record), findHandler(record)?.kind),
  };
}
