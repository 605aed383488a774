import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { ContainerConfig, LinuxContainerResources } from '../cri/contract/contract.types.ts';
import type { ExecResult } from '../oci/exec.ts';
import type { SandboxRecord } from '../pods/record.ts';
import type { ContainersOfSandbox } from '../pods/release.ts';
import type { KeyedQueue } from '../../base/queues/index.ts';
import type { Records } from '../state/records.ts';
import type { ContainerEffects } from './container-effects.ts';
import type { AdjustedResources, ContainerAdjuster } from './adjusted.ts';
import { runCommandIn } from './command.ts';
import { createContainer } from './creation.ts';
import { createEndableActs } from './endable-acts.ts';
import { isEnded, noConfiguration, podIsStopped } from './errors.ts';
import { createExitRecorder } from './exit-recorder.ts';
import type { ExitRecorder } from './exit-recorder.ts';
import type { ContainerRecord } from './record.ts';
import { recoverContainers } from './recovery.ts';
import { removeContainer, takeBack } from './removal.ts';
import { reopenContainerLog } from './reopen-log.ts';
import { requireContainer } from './require-container.ts';
import { endUnmade, isUnmade, startContainer } from './start.ts';
import { createStopper } from './stopper.ts';
import { updateContainer } from './update.ts';
import { createContainerWatches } from './watches.ts';
import type { ContainerWatches } from './watches.ts';

export interface ContainerService extends ContainersOfSandbox {
  create(sandboxId: string, config: ContainerConfig | undefined): Promise<ContainerRecord>;
  start(idOrPrefix: string): Promise<void>;
  /**
   * @param timeoutSeconds how long the process may take after its stop signal; 0 kills at once. Unknown or
   * exited: success.
   * @param cancelled ends the wait before this time, and the process is not killed
   */
  stop(idOrPrefix: string, timeoutSeconds: number, cancelled?: AbortSignal): Promise<void>;
  /** Whether a stop or a removal of a container, by its full id, is in progress. */
  isStopping(id: string): boolean;
  /** Unknown: success. */
  remove(idOrPrefix: string): Promise<void>;
  /** @throws PortcullisError RUNTIME_CONTAINER_NOT_FOUND */
  require(idOrPrefix: string): ContainerRecord;
  list(): readonly ContainerRecord[];
  exec(
    idOrPrefix: string,
    command: readonly string[],
    timeoutSeconds: number,
    signal?: AbortSignal,
  ): Promise<ExecResult>;
  update(idOrPrefix: string, resources: LinuxContainerResources | undefined): Promise<void>;
  /** Like `update`, and records which plugins of the node changed the request, or made it. */
  updateAdjusted(idOrPrefix: string, change: AdjustedResources): Promise<void>;
  reopenLog(idOrPrefix: string): Promise<void>;
  /** Returns the containers whose first process lives and whose monitor does not. */
  unmonitored(): readonly string[];
  recover(): Promise<void>;
  /** Stops watching; running containers continue. */
  close(): Promise<void>;
}

export interface ContainerServiceDeps {
  readonly records: Records<ContainerRecord>;
  /** @throws when the sandbox is unknown */
  readonly requireSandbox: (id: string) => SandboxRecord;
  /**
   * Returns the record of the pod with a PID namespace that its containers share. Call it under the lock of
   * the sandbox.
   */
  readonly shareProcesses: (sandbox: SandboxRecord) => Promise<SandboxRecord>;
  readonly lock: KeyedQueue['run'];
  readonly effects: ContainerEffects;
  /** Absent: no plugin of the node changes requests. */
  readonly adjuster?: ContainerAdjuster | undefined;
  readonly log: Logger;
}

/** Records the exit of a running container before its removal, so that clients get the event of its end. */
async function endRunning(
  {
    records,
    stopper,
    log,
  }: Pick<ContainerServiceDeps, 'records' | 'log'> & {
    readonly stopper: Pick<ReturnType<typeof createStopper>, 'stop'>;
  },
  id: string,
): Promise<void> {
  if (records.get(id)?.phase !== 'running') return;
  await stopper.stop(id, 0).catch((thrown: unknown) => {
    log.warn({ container: id, why: reasonOf(thrown) }, 'a container is removed without a recorded exit');
  });
}

/** Creates the service: the order of the steps of each request, and the lock under which they run. */
export function createContainerService(input: ContainerServiceDeps): ContainerService {
  const { records, lock, effects, log, requireSandbox } = input;
  let closed = false;
  const exits = createExitRecorder({ records, lock, effects, log });
  const watches = createContainerWatches({ effects, exits, log });
  const deps = { ...input, exits, watches, isClosed: () => closed };
  const acts = createEndableActs(lock);
  /** A runtime that does not answer must not delay the end of its container. */
  const endActsOf = (id: string): void => acts.endAll(`container ${id}`, isEnded(id));
  const stopper = createStopper({
    effects,
    kills: endActsOf,
    exited: exits.exited,
    conclude: (id) => conclude(deps, id),
    current: (id) => records.get(id),
  });
  const containersOf = (sandboxId: string): ContainerRecord[] =>
    records.list().filter((record) => record.sandboxId === sandboxId);
  const underLock = <T>(id: string, act: () => Promise<T>): Promise<T> => lock(`container ${id}`, act);
  const removals = new Set<string>();
  const isStopping = (id: string): boolean => stopper.isStopping(id) || removals.has(id);
  const remove = ({ id }: ContainerRecord): Promise<void> => {
    removals.add(id);
    endActsOf(id);
    // A start that is in progress may still succeed.
    return underLock(id, () => Promise.resolve())
      .then(() => endRunning({ records, stopper, log }, id))
      .then(() => underLock(id, () => removeContainer(deps, id)))
      .finally(() => removals.delete(id));
  };
  const stop = (record: ContainerRecord, timeoutMs: number, cancelled?: AbortSignal): Promise<void> => {
    if (isUnmade(record)) return underLock(record.id, () => endUnmade(deps, record.id));
    // Its process ends with the removal, which may be in progress or may have failed.
    if (record.phase === 'removing') return remove(record);
    return stopper.stop(record.id, timeoutMs, cancelled);
  };
  const update = async (idOrPrefix: string, change: AdjustedResources): Promise<void> => {
    const { id } = requireContainer(records, idOrPrefix);
    await acts.run(`container ${id}`, (signal) => updateContainer(deps, id, change, signal));
  };

  return {
    create: (sandboxId, config) => {
      const sandbox = requireSandbox(sandboxId);
      if (config?.metadata === undefined || config.metadata.name === '') throw noConfiguration(sandbox);
      return acts.run(`sandbox ${sandbox.id}`, (signal) =>
        createContainer(deps, requireSandbox(sandbox.id), config, signal),
      );
    },
    endCreationsOf: (sandbox) => acts.endAll(`sandbox ${sandbox.id}`, podIsStopped(sandbox)),
    start: async (idOrPrefix) => {
      const { id } = requireContainer(records, idOrPrefix);
      await acts.run(`container ${id}`, (signal) => startContainer({ ...deps, isStopping }, id, signal));
    },
    stop: async (idOrPrefix, timeoutSeconds, cancelled) => {
      const record = records.find(idOrPrefix);
      if (record !== undefined) await stop(record, Math.max(0, timeoutSeconds) * 1_000, cancelled);
    },
    isStopping,
    remove: async (idOrPrefix) => {
      const record = records.find(idOrPrefix);
      if (record !== undefined) await remove(record);
    },
    stopAllOf: async (sandboxId) => {
      // Under the lock of the sandbox no other call creates one: a half-created container is left from an
      // attempt that could not clean up, and may have a process.
      await Promise.all(
        containersOf(sandboxId).map(async (record) => {
          if (record.phase === 'creating') return remove(record);
          await stop(record, 0);
          await underLock(record.id, () => releaseTask(input, record.id));
        }),
      );
    },
    removeAllOf: async (sandboxId) => {
      await Promise.all(containersOf(sandboxId).map(remove));
    },
    require: (idOrPrefix) => requireContainer(records, idOrPrefix),
    list: () => records.list().filter((record) => record.phase !== 'creating' && record.phase !== 'removing'),
    exec: (idOrPrefix, command, timeoutSeconds, signal) =>
      runCommandIn({ records, effects, isStopping }, idOrPrefix, command, timeoutSeconds * 1_000, signal),
    update: async (idOrPrefix, resources) => {
      if (resources === undefined) requireContainer(records, idOrPrefix);
      else await update(idOrPrefix, { resources, adjustments: [] });
    },
    updateAdjusted: update,
    reopenLog: (idOrPrefix) => reopenContainerLog({ records, effects, lock }, idOrPrefix),
    unmonitored: watches.unmonitored,
    recover: () =>
      recoverContainers({
        records,
        effects,
        log,
        watch: watches.begin,
        takeBack: (record) =>
          lock(`sandbox ${record.sandboxId}`, () => underLock(record.id, () => takeBack(deps, record))),
        recordExit: exits.record,
      }),
    expect: effects.expect,
    close: async () => {
      closed = true;
      exits.close();
      watches.close();
      await effects.close();
    },
  };
}

/**
 * Records the exit of a process that is gone. The exit code is known but could not be written, or is in the
 * monitor's file, or the watch will report it soon.
 */
async function conclude(
  {
    records,
    effects,
    exits,
    watches,
  }: Pick<ContainerServiceDeps, 'records' | 'effects'> & {
    readonly exits: ExitRecorder;
    readonly watches: ContainerWatches;
  },
  id: string,
): Promise<void> {
  if (await exits.retry(id)) return;
  const exit = await effects.recordedExit(id);
  const record = records.get(id);
  if (exit !== undefined) await exits.record(id, exit);
  else if (record !== undefined && !watches.has(id)) watches.begin(record);
}

/**
 * Removes the task of an exited container. Call it under the lock of the container. A failure prevents
 * nothing: the shim is then killed with its pod, and the removal of the container repeats this.
 */
async function releaseTask(
  { records, effects, log }: Pick<ContainerServiceDeps, 'records' | 'effects' | 'log'>,
  id: string,
): Promise<void> {
  try {
    const record = records.get(id);
    if (record?.phase === 'exited') await effects.releaseTask(record);
  } catch (thrown) {
    log.warn({ container: id, why: reasonOf(thrown) }, 'the task of an exited container remains');
  }
}
