import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { SandboxRecord } from '../pods/record.ts';
import type { Records } from '../state/records.ts';
import { settleAll } from '../state/settle.ts';
import { untilDone } from '../state/retry-until-done.ts';
import { putUntilBoot } from './boot-record.ts';
import type { ContainerEffects } from './container-effects.ts';
import { isEnded, notReady, notStartable, wrongPhase } from './errors.ts';
import type { ExitRecorder } from './exit-recorder.ts';
import { nextContainerPhase } from './lifecycle.ts';
import type { ContainerRecord } from './record.ts';
import { requireContainer } from './require-container.ts';

export interface StartDeps {
  readonly records: Records<ContainerRecord>;
  readonly effects: ContainerEffects;
  readonly exits: Pick<ExitRecorder, 'settle'>;
  readonly log: Logger;
  /** @throws when the sandbox is unknown */
  readonly requireSandbox: (id: string) => SandboxRecord;
  /** Whether the service has ended: nothing is repeated from then on. */
  readonly isClosed: () => boolean;
}

/** Each runtime has its own words for a process that was killed before its start. */
const killedCodes: ReadonlySet<string> = new Set(['RUNTIME_OCI_FAILED', 'RUNTIME_START_FAILED']);

/**
 * Starts the process of a created container. Call it under the lock of the container. If a caller repeats a
 * start because it got no answer, the repeated start succeeds.
 * @throws PortcullisError RUNTIME_CONTAINER_NOT_FOUND, RUNTIME_CONTAINER_WRONG_STATE, RUNTIME_START_FAILED,
 * RUNTIME_SANDBOX_NOT_READY, and the errors of the effects. After an error the container has ended
 * @param signal ends a runtime that does not answer
 */
export async function startContainer(
  deps: StartDeps & {
    /** Reports whether a request is about to end the container. */
    readonly isStopping: (id: string) => boolean;
  },
  id: string,
  signal?: AbortSignal,
): Promise<void> {
  const { records, effects } = deps;
  const record = requireContainer(records, id);
  // A start that took effect and was never answered (the daemon crashed in between): the retry is that same
  // start.
  if (record.phase === 'running')
    return record.startAnswered ? undefined : records.put({ ...record, startAnswered: true });
  if (record.phase === 'exited' && record.startedAt !== '0' && !record.startAnswered)
    return records.put({ ...record, startAnswered: true });
  if (record.phase !== 'created' && record.phase !== 'starting')
    throw wrongPhase(record, 'start', 'create it again');
  if (record.startFailure !== undefined) {
    await endUnmade(deps, id);
    throw notStartable(record);
  }
  const sandbox = deps.requireSandbox(record.sandboxId);
  if (sandbox.phase !== 'ready') throw notReady(sandbox);
  // An earlier attempt took effect, and could not be recorded.
  if (record.phase === 'starting' && effects.isAlive(record) && (await effects.isStarted(record)))
    return putUntilBoot(records, {
      ...record,
      phase: nextContainerPhase('starting', 'started'),
      startedAt: effects.now(),
      startAnswered: true,
    });
  const starting: ContainerRecord = { ...record, phase: 'starting' };
  const others = records.list().filter((one) => one.sandboxId === sandbox.id && one.id !== id);
  await settleAll([putUntilBoot(records, starting), effects.raiseNetwork(sandbox, [...others, starting])]);
  // Before the act, because a short-lived process may end before it is known to run.
  const startedAt = effects.now();
  try {
    await effects.start(starting, signal);
    await putUntilBoot(records, {
      ...starting,
      phase: nextContainerPhase('starting', 'started'),
      startedAt,
      startAnswered: true,
    });
    // A pod may have several containers, and a container that ends is created again.
    effects.expect(sandbox);
  } catch (thrown) {
    const isKilled = isPortcullisError(thrown) && killedCodes.has(thrown.code);
    const cause = isKilled && (signal?.aborted === true || deps.isStopping(id)) ? isEnded(id) : thrown;
    await failStart(deps, starting, cause);
    throw cause;
  }
}

/** Whether this is a container without a process, because the runtime refused to create it. */
export function isUnmade(record: ContainerRecord): boolean {
  return record.phase === 'created' && record.startFailure !== undefined;
}

/** Records the end of a container that the runtime refused to create. Call it under its lock. */
export async function endUnmade(
  deps: Pick<StartDeps, 'records' | 'effects' | 'exits'>,
  id: string,
): Promise<void> {
  const record = deps.records.get(id);
  if (record === undefined || !isUnmade(record)) return;
  await deps.records.put({ ...record, ...startError(record.startFailure ?? '', deps.effects.now()) });
  deps.exits.settle(id);
}

/** In the form that containerd uses. */
function startError(
  message: string,
  finishedAt: string,
): Pick<ContainerRecord, 'phase' | 'finishedAt' | 'exitCode' | 'reason' | 'message' | 'startAnswered'> {
  return { phase: 'exited', finishedAt, exitCode: 128, reason: 'StartError', message, startAnswered: true };
}

/**
 * After an error, the caller starts another container, and the process of this container must not run beside
 * it.
 */
async function failStart(
  { records, effects, exits, log, isClosed }: StartDeps,
  starting: ContainerRecord,
  cause: unknown,
): Promise<void> {
  try {
    effects.kill(starting, 'SIGKILL');
    await records.put({ ...starting, ...startError(reasonOf(cause), effects.now()) });
    exits.settle(starting.id);
  } catch (second) {
    log.warn(
      { container: starting.id, cause: reasonOf(second) },
      'a failed start could not be recorded; its process is killed',
    );
    void untilDone({
      act: async () => Promise.resolve(effects.kill(starting, 'SIGKILL')),
      sleep: effects.clock.sleep,
      isOver: isClosed,
      failed: (third) =>
        log.warn(
          { container: starting.id, cause: reasonOf(third) },
          'a container whose start failed could not be killed',
        ),
    });
  }
}
