import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { KeyedQueue } from '../../base/queues/index.ts';
import { untilDone } from '../state/retry-until-done.ts';
import type { Sharing } from './sharing.ts';
import type { SandboxRecord } from './record.ts';
import { stopSandbox, takeBack } from './release.ts';
import type { ContainersOfSandbox, ReleaseDeps } from './release.ts';
import type { SandboxEffects } from './sandbox-effects.ts';

/** The cleanups that no client requests: after a crash, and of pods that no longer exist. */
export interface SandboxRecovery {
  /**
   * After a crash: undoes half-created pods, finishes half-stopped ones. `alive` says whether a set of pins
   * still exists.
   */
  recover(alive: (namespacesDir: string) => boolean): Promise<void>;
  /** Stops a pod whose process that held the PID namespace has ended. */
  infraEnded(id: string): void;
  /** Whether the pod is lost, but recorded as ready until the record can be changed: no caller gets it. */
  isLost(id: string): boolean;
  /** For a pod that is removed. */
  forget(id: string): void;
  /** Starts no further attempts. */
  close(): void;
}

export interface RecoveryDeps extends ReleaseDeps {
  readonly effects: SandboxEffects;
  readonly containers: ContainersOfSandbox;
  readonly sharing: Pick<Sharing, 'end' | 'isLost' | 'isRequired' | 'recover'>;
  readonly lock: KeyedQueue['run'];
  readonly log: Logger;
}

/** How long the start of the daemon waits for the shims of pods, all together, in ms. */
const shimsMs = 10_000;
/**
 * How long the start of the daemon waits for one pod that is stopped, for the first slow ones together, and
 * then for each further one, in ms. A process that waits for a dead file server does not end, and delays the
 * stop of its pod by a minute.
 */
const [slowMs, allSlowMs, leastMs] = [5_000, 10_000, 100];

export function createSandboxRecovery(deps: RecoveryDeps): SandboxRecovery {
  const { records, lock, effects, sharing, log } = deps;
  let closed = false;
  const lostPods = new Set<string>();

  /**
   * Runs a cleanup that no client requests, and repeats it until it succeeds: a kubelet considers a pod ready
   * until its end is recorded.
   */
  const bringInOrder = (id: string, act: (record: SandboxRecord) => Promise<void>): void =>
    void untilDone({
      act: () =>
        lock(`sandbox ${id}`, async () => {
          const record = records.get(id);
          // The next request for the same name undoes a pod that is being created.
          if (record !== undefined && record.phase !== 'creating') await act(record);
        }),
      sleep: effects.sleep,
      isOver: () => closed,
      failed: (cause, attempt) =>
        log[attempt === 1 ? 'error' : 'debug'](
          { sandbox: id, cause: reasonOf(cause) },
          'this sandbox could not be cleaned up; the cleanup is repeated until it succeeds',
        ),
    });

  return {
    recover: async (alive) => {
      const settle = async (record: SandboxRecord): Promise<void> => {
        if (record.phase === 'creating') return takeBack(deps, record);
        const lost = record.phase === 'ready' ? whatIsLost(deps, record, alive) : undefined;
        if (lost !== undefined) {
          lostPods.add(record.id);
          log.warn(
            { sandbox: record.id, lost },
            'a sandbox no longer exists, for example after a reboot: it is stopped',
          );
        }
        if (record.phase === 'stopping' || lost !== undefined) await stopSandbox(deps, record.id);
        else if (record.phase === 'ready') await sharing.recover(record);
      };
      const attempt = (record: SandboxRecord): Promise<void> =>
        settle(record).catch((cause: unknown) => {
          log.error(
            { sandbox: record.id, cause: reasonOf(cause) },
            'this sandbox could not be recovered at the first attempt',
          );
          bringInOrder(record.id, settle);
        });
      // A shim that hangs answers after minutes, if at all. The other pods do not wait for it. A pod that was
      // being created is undone first, because the next request for its name undoes it as well.
      const { shims = [], others = [] } = Object.groupBy(records.list(), ({ phase, runtimeHandler }) =>
        phase !== 'creating' && sharing.isRequired(runtimeHandler) ? 'shims' : 'others',
      );
      const locked = (record: SandboxRecord): Promise<void> =>
        lock(`sandbox ${record.id}`, () => attempt(record));
      const behindShims = shims.map(locked);
      let patienceMs = allSlowMs;
      for (const record of others) {
        if (record.phase === 'creating') {
          await attempt(record);
          continue;
        }
        const limitMs = Math.max(Math.min(slowMs, patienceMs), leastMs);
        const isSlow = effects.sleep(limitMs).then(() => true);
        if (await Promise.race([locked(record).then(() => false), isSlow])) patienceMs -= limitMs;
      }
      if (shims.length > 0) await Promise.race([Promise.all(behindShims), effects.sleep(shimsMs)]);
    },
    infraEnded: (id) =>
      bringInOrder(id, async (record) => {
        if (record.phase === 'ready') {
          if (!sharing.isLost(record)) return;
          lostPods.add(id);
          log.warn(
            { sandbox: id },
            'the process that held the PID namespace of a pod has ended, and its containers with it: the pod is stopped',
          );
        }
        await stopSandbox(deps, id);
      }),
    isLost: (id) => lostPods.has(id),
    forget: (id) => void lostPods.delete(id),
    close: () => {
      closed = true;
    },
  };
}

/**
 * Returns why a pod no longer exists; a pod on the host's network and IPC has no namespaces to look for.
 */
function whatIsLost(
  { effects, sharing }: Pick<RecoveryDeps, 'effects' | 'sharing'>,
  record: SandboxRecord,
  alive: (namespacesDir: string) => boolean,
): string | undefined {
  if (record.bootId !== undefined && record.bootId !== effects.bootId()) return 'the machine was restarted';
  if (record.namespacesDir !== undefined && !alive(record.namespacesDir)) return 'its namespaces are gone';
  if (!effects.files.stand(record.id)) return 'its files are gone';
  // The network leaves a record out that it cannot read.
  if (record.attachment !== undefined && !effects.network.has(record.id)) return 'its network is lost';
  return sharing.isLost(record) ? 'the process that held its PID namespace has ended' : undefined;
}
