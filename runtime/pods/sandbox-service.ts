import type { Logger } from '../../base/log/index.ts';
import type { PodSandboxConfig } from '../cri/contract/contract.types.ts';
import type { KeyedQueue } from '../../base/queues/index.ts';
import type { Records } from '../state/records.ts';
import { nameTaken, sandboxNotFound } from './errors.ts';
import { establish } from './establish.ts';
import type { EstablishDeps } from './establish.ts';
import { createSharing } from './sharing.ts';
import type { SandboxRecord } from './record.ts';
import { createSandboxRecovery } from './recovery.ts';
import { removeSandbox, stopSandbox, takeBack } from './release.ts';
import type { ContainersOfSandbox, StopDeps } from './release.ts';
import type { SandboxEffects } from './sandbox-effects.ts';
import { withNodeSysctls } from './node-sysctls.ts';
import { warnOfUnknownAnnotations } from './warn-of-annotations.ts';
import { planSandbox } from './validate.ts';

export interface SandboxService {
  run(config: PodSandboxConfig | undefined, runtimeHandler: string): Promise<SandboxRecord>;
  /** Unknown or stopped: success. */
  stop(idOrPrefix: string): Promise<void>;
  /** Unknown: success. */
  remove(idOrPrefix: string): Promise<void>;
  /** @throws PortcullisError RUNTIME_SANDBOX_NOT_FOUND */
  require(idOrPrefix: string): SandboxRecord;
  /**
   * Returns the pod's record with a live process that holds a PID namespace for its containers to share;
   * starts the process if there is none. Call it under the sandbox's lock.
   */
  shareProcesses(record: SandboxRecord): Promise<SandboxRecord>;
  /** Returns every sandbox that a caller may see, in order of creation. */
  list(): readonly SandboxRecord[];
  /**
   * After a crash: undoes half-created pods, finishes half-stopped ones. `alive` says whether a set of pins
   * still exists.
   */
  recover(alive: (namespacesDir: string) => boolean): Promise<void>;
  /** Stops watching; pods continue. */
  close(): void;
}

/** Creates the service: the order of the steps of each request, and the lock under which they run. */
export function createSandboxService(input: {
  readonly records: Records<SandboxRecord>;
  readonly lock: KeyedQueue['run'];
  readonly effects: SandboxEffects;
  readonly containers: ContainersOfSandbox;
  readonly approve?: EstablishDeps['approve'];
  readonly stopping?: StopDeps['stopping'];
  /** Sysctls that the node sets in every pod, by name. */
  readonly sysctls?: Readonly<Record<string, string>>;
  readonly log: Logger;
}): SandboxService {
  const { records, lock, effects, log } = input;
  const sharing = createSharing({
    records,
    effects: effects.infra,
    log,
    lost: (id) => recovery.infraEnded(id),
  });
  const deps = { ...input, sharing };
  const recovery = createSandboxRecovery(deps);
  return {
    run: async (config, runtimeHandler) => {
      const given = config && withNodeSysctls(config, input.sysctls ?? {});
      const plan = planSandbox(given?.config);
      if (given === undefined) throw new TypeError('unreachable: planSandbox refuses it');
      effects.requireHandler(runtimeHandler, given.config);
      const requestDigest = effects.digest({ config, runtimeHandler });
      return lock(`name ${plan.name}`, async () => {
        // Under this lock no other call creates it: a half-created pod is left from an attempt that could not
        // clean up.
        const abandoned = records.byName(plan.name);
        if (abandoned?.phase === 'creating') await takeBack(deps, abandoned, true);
        const existing = records.byName(plan.name);
        if (existing === undefined) {
          const made = await establish(deps, { ...given, plan, runtimeHandler, requestDigest });
          input.containers.expect(made);
          warnOfUnknownAnnotations(log, made);
          return made;
        }
        const isLost = recovery.isLost(existing.id);
        if (existing.phase === 'ready' && !isLost && existing.requestDigest === requestDigest)
          return existing;
        throw nameTaken(existing, isLost);
      });
    },
    stop: async (idOrPrefix) => {
      const record = records.find(idOrPrefix);
      if (record === undefined) return;
      input.containers.endCreationsOf(record);
      await lock(`sandbox ${record.id}`, () => stopSandbox(deps, record.id));
    },
    remove: async (idOrPrefix) => {
      const record = records.find(idOrPrefix);
      if (record === undefined) return;
      input.containers.endCreationsOf(record);
      await lock(`sandbox ${record.id}`, async () => {
        await removeSandbox(deps, record.id);
        recovery.forget(record.id);
      });
    },
    require: (idOrPrefix) => {
      const record = records.find(idOrPrefix);
      if (record === undefined || record.phase === 'creating') throw sandboxNotFound(idOrPrefix);
      return record;
    },
    shareProcesses: (record) => sharing.share(record),
    list: () => records.list().filter((record) => record.phase !== 'creating'),
    recover: recovery.recover,
    close: () => {
      recovery.close();
      sharing.close();
    },
  };
}
