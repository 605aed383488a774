import { PortcullisError, isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { ContainerConfig, LinuxContainerResources } from '../cri/contract/contract.types.ts';
import type { ExecResult } from '../oci/exec.ts';
import { mergedResources } from '../oci/resources.ts';
import type { SandboxRecord } from '../pods/record.ts';
import type { ContainersOfSandbox } from '../pods/sandbox-service.ts';
import type { KeyedLock } from '../state/keyed-lock.ts';
import { unlessGone } from '../state/gone-rows.ts';
import { createdAfter } from '../state/identity.ts';
import { settleAll } from '../state/settle.ts';
import type { Records } from '../state/records.ts';
import { untilDone } from '../state/until-done.ts';
import { containerNotFound, nameTaken, notReady, notStartable, wrongPhase } from './errors.ts';
import { createExitRecorder } from './exit-recorder.ts';
import { nextContainerPhase } from './lifecycle.ts';
import { pidModeOf } from './pid-namespace.ts';
import type { ContainerRecord } from './record.ts';
import { recoverContainers } from './recovery.ts';
import type { ContainerEffects } from './container-effects.ts';
import { createStopper } from './stopper.ts';

export interface ContainerService extends ContainersOfSandbox {
  create(sandboxId: string, config: ContainerConfig | undefined): Promise<ContainerRecord>;
  start(idOrPrefix: string): Promise<void>;
  /**
   * @param timeoutSeconds how long the process may take after its stop signal; 0 kills at once. Unknown or
   * exited: success.
   */
  stop(idOrPrefix: string, timeoutSeconds: number): Promise<void>;
  /** Unknown: success. */
  remove(idOrPrefix: string): Promise<void>;
  /** @throws PortcullisError RUNTIME_CONTAINER_NOT_FOUND */
  require(idOrPrefix: string): ContainerRecord;
  list(): readonly ContainerRecord[];
  exec(idOrPrefix: string, command: readonly string[], timeoutSeconds: number, signal?: AbortSignal): Promise<ExecResult>;
  update(idOrPrefix: string, resources: LinuxContainerResources | undefined): Promise<void>;
  reopenLog(idOrPrefix: string): Promise<void>;
  /** Returns the containers whose first process lives and whose monitor does not. */
  unmonitored(): readonly string[];
  recover(): Promise<void>;
  /** Stops watching; running containers continue. */
  close(): void;
}

export function createContainerService(parts: {
  readonly records: Records<ContainerRecord>;
  /** @throws when the sandbox is unknown */
  readonly requireSandbox: (id: string) => SandboxRecord;
  /**
   * Returns the record of the pod with a PID namespace that its containers share. Call it under the lock of
   * the sandbox.
   */
  readonly shareProcesses: (sandbox: SandboxRecord) => Promise<SandboxRecord>;
  readonly lock: KeyedLock;
  readonly effects: ContainerEffects;
  readonly log: Logger;
}): ContainerService {
  const { records, lock, effects, log, requireSandbox } = parts;
  const watches = new Map<string, () => void>();
  /** Containers that run without their monitor. The next start of the daemon detects them again. */
  const unmonitored = new Set<string>();
  let closed = false;
  // A process that waits or runs does not survive a reboot of the machine, so its record need not survive it
  // either (docs/decisions/0035). The record of its end must.
  const putUntilBoot = (record: ContainerRecord): Promise<void> => records.put(record, [], 'process');

  const exits = createExitRecorder({ records, lock, effects, log });
  const watch = (record: ContainerRecord): void => {
    watches.get(record.id)?.();
    const stop = effects.watch(
      record,
      (exit) => {
        watches.delete(record.id);
        unmonitored.delete(record.id);
        // A failure was logged, and is retried.
        exits.record(record.id, exit).catch(() => undefined);
      },
      () => {
        unmonitored.add(record.id);
        log.error(
          { container: record.id, monitor: record.monitor?.pid },
          'the monitor of a running container has ended: its output is lost from now on, and its exit code is known only where the kernel reports it',
        );
      },
    );
    watches.set(record.id, stop);
  };
  const unwatch = (id: string): void => {
    watches.get(id)?.();
    watches.delete(id);
    unmonitored.delete(id);
  };
  /**
   * Records the exit of a process that is gone. The exit code is known and could not be written, or is in the
   * monitor's file, or the watch reports it soon.
   */
  const conclude = async (id: string): Promise<void> => {
    if (await exits.retry(id)) return;
    const exit = await effects.recordedExit(id);
    const record = records.get(id);
    if (exit !== undefined) await exits.record(id, exit);
    else if (record !== undefined && !watches.has(id)) watch(record);
  };
  const stopper = createStopper({ effects, exited: exits.exited, conclude, current: (id) => records.get(id) });

  const createLocked = async (sandbox: SandboxRecord, config: ContainerConfig): Promise<ContainerRecord> => {
    if (sandbox.phase !== 'ready') throw notReady(sandbox);
    const pod = sandbox.config.metadata;
    const name = `k8s_${config.metadata?.name ?? ''}_${pod?.name ?? ''}_${pod?.namespace ?? ''}_${pod?.uid ?? ''}_${config.metadata?.attempt ?? 0}`;
    const requestDigest = effects.digest({ sandbox: sandbox.id, config });
    // Under this lock no other call creates it: a half-created container is left from an attempt that could
    // not clean up.
    const abandoned = records.byName(name);
    if (abandoned?.phase === 'creating') await takeBack(abandoned, true);
    const standing = records.byName(name);
    if (standing !== undefined) {
      if (standing.phase === 'created' && standing.requestDigest === requestDigest) return standing;
      throw nameTaken(standing);
    }
    const sharesPod = pidModeOf(config, sandbox) === 'pod';
    const admission = await effects.admit(config, sandbox);
    const place = sharesPod ? await parts.shareProcesses(sandbox) : sandbox;
    const intent: ContainerRecord = {
      id: effects.newId(),
      name,
      sandboxId: sandbox.id,
      phase: 'creating',
      config,
      requestDigest,
      runtimeHandler: sandbox.runtimeHandler,
      imageId: admission.imageId,
      imageRef: admission.imageRef,
      verdictId: admission.verdictId,
      settingsDigest: '',
      networkClass: 'none',
      noNewPrivileges: false,
      logPath: effects.logPath(config, sandbox),
      stopSignal: 'SIGTERM',
      user: { uid: 0, gid: 0, additionalGids: [] },
      createdAt: createdAfter(effects.now(), { name }, records.list()),
      startedAt: '0',
      finishedAt: '0',
      exitCode: 0,
      reason: '',
      message: '',
      startAnswered: false,
    };
    let mayBeCreated = false;
    try {
      // In parallel: the next start finds and removes the results of prepare without a record, but not
      // processes.
      const durable = putUntilBoot(intent);
      const made = await settleAll([effects.prepare(intent, place, admission, durable), durable]).then(
        ([ready]) => ready,
        (cause: unknown) => unmade(intent, cause),
      );
      const prepared: ContainerRecord = { ...intent, ...made };
      const processes =
        prepared.startFailure === undefined ? await effects.create(prepared).catch((cause: unknown) => unmade(prepared, cause)) : {};
      const created: ContainerRecord = { ...prepared, ...processes, phase: nextContainerPhase('creating', 'monitor-holds-it') };
      mayBeCreated = true;
      await putUntilBoot(created);
      if (created.startFailure === undefined) watch(created);
      if (prepared.degraded !== undefined && prepared.degraded.length > 0)
        log.info({ container: created.id, degraded: prepared.degraded }, 'this node cannot enforce all of its profile');
      return created;
    } catch (cause) {
      await takeBack(intent, mayBeCreated).catch((second: unknown) =>
        log.warn({ container: intent.id, cause: reasonOf(second) }, 'a half-made container is left for the next start to remove'),
      );
      throw cause;
    }
  };

  /**
   * A kubelet repeats a CreateContainer that fails, whatever the restart policy of the pod; a StartContainer
   * that fails ends the container, as in containerd. A container that the runtime refuses because of the
   * request itself is therefore kept, with nothing on the host, and the error is reported at the start.
   * @throws the cause, if another attempt may succeed
   */
  const unmade = async (prepared: ContainerRecord, cause: unknown): Promise<Pick<ContainerRecord, 'startFailure'>> => {
    if (!isPortcullisError(cause) || cause.code !== 'RUNTIME_CREATE_FAILED' || cause.kind !== 'precondition') throw cause;
    await effects.destroy(prepared);
    return { startFailure: cause.failure.why };
  };

  /**
   * @param mayBeCreated the write of the phase `created` was reported as failed, and may have taken effect:
   * the next start would find a container without its process, and report an exit that never happened
   */
  const takeBack = async (record: ContainerRecord, mayBeCreated = false): Promise<void> => {
    unwatch(record.id);
    if (mayBeCreated && records.get(record.id) !== undefined) await putUntilBoot(record).catch(unlessGone);
    await effects.destroy(record);
    await records.delete(record.id);
    exits.settle(record.id);
  };

  const startLocked = async (id: string): Promise<void> => {
    const record = requireContainer(id);
    // A start that took effect and was never answered (the daemon crashed in between): the retry is that same
    // start.
    if (record.phase === 'running') return record.startAnswered ? undefined : records.put({ ...record, startAnswered: true });
    if (record.phase === 'exited' && record.startedAt !== '0' && !record.startAnswered)
      return records.put({ ...record, startAnswered: true });
    if (record.phase !== 'created' && record.phase !== 'starting') throw wrongPhase(record, 'start', 'create it again');
    if (record.startFailure !== undefined) {
      await endUnmade(id);
      throw notStartable(record);
    }
    const sandbox = requireSandbox(record.sandboxId);
    if (sandbox.phase !== 'ready') throw notReady(sandbox);
    // An earlier attempt took effect, and could not be recorded.
    if (record.phase === 'starting' && effects.isAlive(record) && (await effects.isStarted(record)))
      return putUntilBoot({ ...record, phase: nextContainerPhase('starting', 'started'), startedAt: effects.now(), startAnswered: true });
    const starting: ContainerRecord = { ...record, phase: 'starting' };
    await settleAll([
      putUntilBoot(starting),
      effects.raiseNetwork(sandbox, [...containersOf(sandbox.id).filter((one) => one.id !== id), starting]),
    ]);
    // Before the act: a short-lived process has ended before it is known to run.
    const startedAt = effects.now();
    try {
      await effects.start(starting);
      await putUntilBoot({ ...starting, phase: nextContainerPhase('starting', 'started'), startedAt, startAnswered: true });
    } catch (cause) {
      await failStart(starting, cause);
      throw cause;
    }
  };

  /** A container without a process, because the runtime refused to create it. */
  const isUnmade = (record: ContainerRecord): boolean => record.phase === 'created' && record.startFailure !== undefined;
  const endUnmade = async (id: string): Promise<void> => {
    const record = records.get(id);
    if (record === undefined || !isUnmade(record)) return;
    await records.put({ ...record, ...startError(record.startFailure ?? '') });
    exits.settle(id);
  };
  /** In the form that containerd uses. */
  const startError = (
    message: string,
  ): Pick<ContainerRecord, 'phase' | 'finishedAt' | 'exitCode' | 'reason' | 'message' | 'startAnswered'> => ({
    phase: 'exited',
    finishedAt: effects.now(),
    exitCode: 128,
    reason: 'StartError',
    message,
    startAnswered: true,
  });

  /** After an error the caller starts another container: the process of this one must not run beside it. */
  const failStart = async (starting: ContainerRecord, cause: unknown): Promise<void> => {
    try {
      effects.kill(starting, 'SIGKILL');
      await records.put({ ...starting, ...startError(reasonOf(cause)) });
      exits.settle(starting.id);
    } catch (second) {
      log.warn({ container: starting.id, cause: reasonOf(second) }, 'a failed start could not be recorded; its process is killed');
      void untilDone({
        act: async () => Promise.resolve(effects.kill(starting, 'SIGKILL')),
        sleep: effects.clock.sleep,
        isOver: () => closed,
        failed: (third) =>
          log.warn({ container: starting.id, cause: reasonOf(third) }, 'a container whose start failed could not be killed'),
      });
    }
  };

  const stop = (record: ContainerRecord, timeoutMs: number): Promise<void> => {
    if (isUnmade(record)) return lock(`container ${record.id}`, () => endUnmade(record.id));
    // Its process ends with the removal, which may be in progress or have failed.
    if (record.phase === 'removing') return lock(`container ${record.id}`, () => removeLocked(record.id));
    return stopper.stop(record.id, timeoutMs);
  };

  const removeLocked = async (id: string): Promise<void> => {
    const record = records.get(id);
    if (record === undefined) return;
    if (record.phase !== 'removing')
      await records.put({ ...record, phase: nextContainerPhase(record.phase, 'remove-asked') }).catch(unlessGone);
    await takeBack(record);
  };

  const requireContainer = (idOrPrefix: string): ContainerRecord => {
    const record = records.find(idOrPrefix);
    if (record === undefined || record.phase === 'creating') throw containerNotFound(idOrPrefix);
    return record;
  };
  const containersOf = (sandboxId: string): ContainerRecord[] => records.list().filter((record) => record.sandboxId === sandboxId);

  return {
    create: (sandboxId, config) => {
      const sandbox = requireSandbox(sandboxId);
      if (config?.metadata === undefined || config.metadata.name === '') {
        throw new PortcullisError({
          code: 'RUNTIME_BAD_CONTAINER',
          kind: 'invalid',
          attempted: 'create container',
          on: `in sandbox ${sandbox.id.slice(0, 13)}`,
          why: 'the request holds no container configuration with metadata.name',
          fix: 'send `config.metadata.name`',
        });
      }
      return lock(`sandbox ${sandbox.id}`, () => createLocked(requireSandbox(sandbox.id), config));
    },
    start: async (idOrPrefix) => {
      const { id } = requireContainer(idOrPrefix);
      await lock(`container ${id}`, () => startLocked(id));
    },
    stop: async (idOrPrefix, timeoutSeconds) => {
      const record = records.find(idOrPrefix);
      if (record !== undefined) await stop(record, Math.max(0, timeoutSeconds) * 1_000);
    },
    remove: async (idOrPrefix) => {
      const record = records.find(idOrPrefix);
      if (record !== undefined) await lock(`container ${record.id}`, () => removeLocked(record.id));
    },
    stopAllOf: async (sandboxId) => {
      // Under the lock of the sandbox no other call creates one: a half-created container is left from an
      // attempt that could not clean up, and may have a process.
      await Promise.all(
        containersOf(sandboxId).map((record) =>
          record.phase === 'creating' ? lock(`container ${record.id}`, () => removeLocked(record.id)) : stop(record, 0),
        ),
      );
    },
    removeAllOf: async (sandboxId) => {
      await Promise.all(containersOf(sandboxId).map((record) => lock(`container ${record.id}`, () => removeLocked(record.id))));
    },
    require: requireContainer,
    list: () => records.list().filter((record) => record.phase !== 'creating' && record.phase !== 'removing'),
    exec: (idOrPrefix, command, timeoutSeconds, signal) => {
      const record = requireContainer(idOrPrefix);
      if (record.phase !== 'running') throw wrongPhase(record, 'run a command in', 'start it first');
      return effects.exec(record, command, timeoutSeconds * 1_000, signal);
    },
    update: async (idOrPrefix, resources) => {
      const { id } = requireContainer(idOrPrefix);
      if (resources === undefined) return;
      await lock(`container ${id}`, async () => {
        const record = requireContainer(id);
        if (record.phase === 'exited') throw wrongPhase(record, 'update', 'create it again with these resources');
        if (!isUnmade(record)) await effects.update(record, resources);
        const linux = { ...record.config.linux, resources: mergedResources(record.config.linux?.resources, resources) };
        await records.put({ ...record, config: { ...record.config, linux } });
      });
    },
    reopenLog: async (idOrPrefix) => {
      const record = requireContainer(idOrPrefix);
      if (record.phase !== 'running') throw wrongPhase(record, 'reopen the log of', 'only a running container writes one');
      await lock(`log ${record.id}`, () => effects.reopenLog(record));
    },
    unmonitored: () => [...unmonitored],
    recover: () => recoverContainers({ records, effects, log, watch, takeBack, recordExit: exits.record }),
    close: () => {
      closed = true;
      exits.close();
      for (const id of [...watches.keys()]) unwatch(id);
    },
  };
}
