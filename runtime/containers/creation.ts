import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { ContainerConfig } from '../cri/contract/contract.types.ts';
import type { SandboxRecord } from '../pods/record.ts';
import { createdAfter } from '../state/identity.ts';
import { settleAll } from '../state/settle.ts';
import { blamePlugins } from './adjusted.ts';
import type { AdjustedRequest, ContainerAdjuster } from './adjusted.ts';
import { putUntilBoot } from './boot-record.ts';
import type { Admission, ContainerEffects } from './container-effects.ts';
import { nameTaken, notReady } from './errors.ts';
import { nextContainerPhase } from './lifecycle.ts';
import { pidModeOf } from './pid-namespace.ts';
import type { ContainerRecord } from './record.ts';
import { takeBack } from './removal.ts';
import type { RemovalDeps } from './removal.ts';
import type { ContainerWatches } from './watches.ts';

export interface CreationDeps extends RemovalDeps {
  readonly effects: ContainerEffects;
  readonly watches: Pick<ContainerWatches, 'begin' | 'end'>;
  /** Returns the record of the pod with a PID namespace that its containers share. */
  readonly shareProcesses: (sandbox: SandboxRecord) => Promise<SandboxRecord>;
  /** Absent: no plugin of the node changes requests. */
  readonly adjuster?: ContainerAdjuster | undefined;
  readonly log: Logger;
}

/**
 * Creates a container, up to a first process that waits for its start. Call it under the lock of the sandbox.
 * A repeated request returns the same container.
 * @param signal undoes the creation at its next step, and ends an OCI runtime that does not answer
 * @throws PortcullisError RUNTIME_SANDBOX_NOT_READY, RUNTIME_CONTAINER_NAME_TAKEN, and the errors of the
 * effects. Nothing of the container is left then, or the next start of the daemon removes it
 */
export async function createContainer(
  deps: CreationDeps,
  sandbox: SandboxRecord,
  config: ContainerConfig,
  signal: AbortSignal,
): Promise<ContainerRecord> {
  const { records, effects } = deps;
  signal.throwIfAborted();
  if (sandbox.phase !== 'ready') throw notReady(sandbox);
  const name = containerName(sandbox, config);
  const requestDigest = effects.digest({ sandbox: sandbox.id, config });
  // Under this lock no other call creates it: a half-created container is left from an attempt that could
  // not clean up.
  const abandoned = records.byName(name);
  if (abandoned?.phase === 'creating') await takeBack(deps, abandoned, true);
  const existing = records.byName(name);
  if (existing !== undefined) {
    if (existing.phase === 'created' && existing.requestDigest === requestDigest) return existing;
    throw nameTaken(existing);
  }
  const sharesPod = pidModeOf(config, sandbox) === 'pod';
  const admission = await effects.admit(config, sandbox);
  const logPath = effects.logPath(config, sandbox);
  const isRestored = admission.restoredFrom !== undefined;
  const id = effects.newId({ config, sandbox, logPath, isRestored });
  const createdAt = createdAfter(effects.now(), { name }, records.list());
  const { imageId, verdictId } = admission;
  // Before anything of the container exists: what a plugin changes is checked like any other request.
  try {
    const changed = await deps.adjuster?.adjust({ id, config, sandbox, imageId, verdictId, createdAt });
    const place = sharesPod ? await deps.shareProcesses(sandbox) : sandbox;
    const intent: ContainerRecord = {
      id,
      name,
      sandboxId: sandbox.id,
      phase: 'creating',
      config: changed?.config ?? config,
      ...(changed !== undefined && { adjusted: changed.adjusted }),
      requestDigest,
      runtimeHandler: sandbox.runtimeHandler,
      imageId,
      imageRef: admission.imageRef,
      verdictId,
      ...(admission.restoredFrom !== undefined && { restoredFrom: admission.restoredFrom }),
      settingsDigest: '',
      networkClass: 'none',
      noNewPrivileges: false,
      logPath,
      stopSignal: 'SIGTERM',
      user: { uid: 0, gid: 0, additionalGids: [] },
      createdAt,
      startedAt: '0',
      finishedAt: '0',
      exitCode: 0,
      reason: '',
      message: '',
      startAnswered: false,
    };
    return await establish(deps, intent, place, {
      ...{ admission, signal },
      ...(changed && { record: changed.record }),
    });
  } catch (cause) {
    await effects.forgetId(id);
    throw cause;
  } finally {
    deps.adjuster?.ended(id);
  }
}

/** Returns a name that no other attempt of any container has. */
function containerName(sandbox: SandboxRecord, config: ContainerConfig): string {
  const pod = sandbox.config.metadata;
  return `k8s_${config.metadata?.name ?? ''}_${pod?.name ?? ''}_${pod?.namespace ?? ''}_${pod?.uid ?? ''}_${config.metadata?.attempt ?? 0}`;
}

/** Creates the intended container on the host and records it, or undoes what it created. */
async function establish(
  deps: CreationDeps,
  intent: ContainerRecord,
  place: SandboxRecord,
  {
    admission,
    signal,
    record,
  }: {
    readonly admission: Admission;
    readonly signal: AbortSignal;
    readonly record?: AdjustedRequest['record'];
  },
): Promise<ContainerRecord> {
  const { records, effects, watches, log } = deps;
  let mayBeCreated = false;
  try {
    // In parallel: the next start finds and removes the results of prepare without a record, but not
    // processes.
    const durable = putUntilBoot(records, intent);
    const made = await settleAll([effects.prepare(intent, place, admission, durable), durable]).then(
      ([ready]) => ready,
      (cause: unknown) => unmade(effects, intent, cause),
    );
    const prepared: ContainerRecord = { ...intent, ...made };
    // The ceilings have allowed the changes. A change that is not in the log is not made.
    if (prepared.startFailure === undefined) await record?.();
    signal.throwIfAborted();
    const processes =
      prepared.startFailure === undefined
        ? await effects.create(prepared, signal).catch((cause: unknown) => unmade(effects, prepared, cause))
        : {};
    const created: ContainerRecord = {
      ...prepared,
      ...processes,
      phase: nextContainerPhase('creating', 'monitor-holds-it'),
    };
    mayBeCreated = true;
    await putUntilBoot(records, created);
    if (created.startFailure === undefined) watches.begin(created);
    if (prepared.degraded !== undefined && prepared.degraded.length > 0)
      log.info(
        { container: created.id, degraded: prepared.degraded },
        'this node cannot enforce all of its profile',
      );
    return created;
  } catch (cause) {
    await takeBack(deps, intent, mayBeCreated).catch((second: unknown) =>
      log.warn(
        { container: intent.id, cause: reasonOf(second) },
        'a partly created container remains until the next start removes it',
      ),
    );
    throw blamePlugins(cause, intent.adjusted);
  }
}

/**
 * A kubelet repeats a CreateContainer that fails, whatever the restart policy of the pod; a StartContainer
 * that fails ends the container, as in containerd. A container that the runtime refuses because of the
 * request itself is therefore kept, with nothing on the host, and the error is reported at the start.
 * @throws the cause, if another attempt may succeed
 */
async function unmade(
  effects: Pick<ContainerEffects, 'destroy'>,
  prepared: ContainerRecord,
  cause: unknown,
): Promise<Pick<ContainerRecord, 'startFailure'>> {
  if (!isPortcullisError(cause) || cause.code !== 'RUNTIME_CREATE_FAILED' || cause.kind !== 'precondition')
    throw cause;
  await effects.destroy(prepared);
  return { startFailure: cause.failure.why };
}
