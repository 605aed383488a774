import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { Attachment, AttachRequest } from '../../cni-plugins/index.ts';
import type { PodSandboxConfig } from '../cri/contract/contract.types.ts';
import type { KeyedLock } from '../state/keyed-lock.ts';
import { unlessGone } from '../state/gone-rows.ts';
import { createdAfter } from '../state/identity.ts';
import { settleAll } from '../state/settle.ts';
import type { Records } from '../state/records.ts';
import { untilDone } from '../state/until-done.ts';
import { createSharing, withoutInfra } from './infra/sharing.ts';
import type { InfraEffects } from './infra/sharing.ts';
import { nextSandboxPhase } from './lifecycle.ts';
import { networkCapabilities } from './network-capabilities.ts';
import { nameNetwork } from './name-network.ts';
import { podNetworks } from './pod-networks.ts';
import { toPortMappings } from './port-mappings.ts';
import type { SandboxRecord } from './record.ts';
import { planSandbox } from './validate.ts';
import type { SandboxPlan } from './validate.ts';

/** The side effects of a sandbox's life. An act whose work is already done succeeds. */
export interface SandboxEffects {
  readonly namespaces: {
    claim(plan: SandboxPlan, runtimeHandler: string): Promise<string | undefined>;
    release(dir: string): Promise<void>;
  };
  readonly network: {
    attach(request: AttachRequest): Promise<Attachment>;
    detach(id: string): Promise<void>;
  };
  readonly files: {
    make(record: SandboxRecord, plan: SandboxPlan): Promise<void>;
    remove(id: string): Promise<void>;
    /** Whether the files exist. */
    stand(id: string): boolean;
  };
  /**
   * Lets the pod send name queries to a network that it is attached to; its resolv.conf then names that
   * network's gateway.
   * @throws PortcullisError NETWORK_NOT_ON_NETWORK
   */
  askNames(record: SandboxRecord, network: string): Promise<void>;
  readonly cgroups: {
    /**
     * Returns the pod's cgroup for the requested parent. @throws PortcullisError RUNTIME_BAD_CGROUP_PARENT
     */
    place(asked: string, sandboxId: string): string;
    /**
     * Returns `path` and its parents as far as they do not exist, or exist only because of pods of this
     * daemon.
     */
    owned(path: string): readonly string[];
    /**
     * Removes the cgroups that the pod owns and that no other pod may be about to use. A cgroup in use stays.
     */
    remove(record: Pick<SandboxRecord, 'id' | 'ownedCgroups'>): Promise<void>;
  };
  /** Processes that hold shared PID namespaces. */
  readonly infra: InfraEffects;
  /** Refuses an unknown handler, and labels that this kernel cannot apply. */
  requireHandler(name: string, config: PodSandboxConfig): void;
  digest(value: unknown): string;
  newId(): string;
  /** Nanoseconds since 1970, decimal. */
  now(): string;
  sleep(ms: number): Promise<void>;
  /** Returns the id of the current boot of the machine. */
  bootId(): string;
}

/** The pod's containers, as far as the sandbox needs them. */
export interface ContainersOfSandbox {
  /** Kills every container of the sandbox; none runs when it resolves. */
  stopAllOf(sandboxId: string): Promise<void>;
  removeAllOf(sandboxId: string): Promise<void>;
}

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

export function createSandboxService(parts: {
  readonly records: Records<SandboxRecord>;
  readonly lock: KeyedLock;
  readonly effects: SandboxEffects;
  readonly containers: ContainersOfSandbox;
  readonly log: Logger;
}): SandboxService {
  const { records, lock, effects, containers, log } = parts;
  let closed = false;
  /** Pods that are lost, but ready on record until the record can be changed: no caller gets them. */
  const lostPods = new Set<string>();
  const sharing = createSharing({
    records,
    effects: effects.infra,
    log,
    lost: (id) =>
      bringInOrder(id, async (record) => {
        if (record.phase === 'ready') {
          if (!sharing.isLost(record)) return;
          lostPods.add(id);
          log.warn(
            { sandbox: id },
            'the process that held the PID namespace of a pod has ended, and its containers with it: the pod is stopped',
          );
        }
        await stopLocked(id);
      }),
  });

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

  const establish = async (
    config: PodSandboxConfig,
    plan: SandboxPlan,
    runtimeHandler: string,
    requestDigest: string,
  ): Promise<SandboxRecord> => {
    const id = effects.newId();
    // Steps that may fail without a trace come before all steps that have to be undone.
    const cgroupParent = effects.cgroups.place(config.linux?.cgroupParent ?? '', id);
    const ownedCgroups = effects.cgroups.owned(cgroupParent);
    const namespacesDir = await effects.namespaces.claim(plan, runtimeHandler);
    const intent: SandboxRecord = {
      id,
      name: plan.name,
      phase: 'creating',
      config,
      requestDigest,
      runtimeHandler,
      ...(namespacesDir !== undefined && { namespacesDir }),
      bootId: effects.bootId(),
      cgroupParent,
      ownedCgroups,
      ...(plan.sharedPids && { infra: {} }),
      createdAt: createdAfter(effects.now(), plan, records.list()),
    };
    let mayBeReady = false;
    try {
      await records.put(intent);
      const [attachment, , infra] = await settleAll([
        plan.hostNetwork ? undefined : effects.network.attach(attachRequest(intent)),
        effects.files.make(intent, plan),
        plan.sharedPids ? sharing.begin(intent) : undefined,
      ]);
      const asks = plan.hostNetwork ? undefined : nameNetwork(config.annotations);
      if (asks !== undefined) await effects.askNames(intent, asks);
      const ready: SandboxRecord = {
        ...intent,
        phase: nextSandboxPhase(intent.phase, 'established'),
        ...(attachment !== undefined && { attachment }),
        ...(infra !== undefined && { infra }),
      };
      mayBeReady = true;
      await records.put(ready);
      sharing.watch(ready);
      return ready;
    } catch (cause) {
      await takeBack(intent, mayBeReady).catch((second: unknown) =>
        log.warn({ sandbox: id, cause: reasonOf(second) }, 'a half-made sandbox is left for the next start to remove'),
      );
      throw cause;
    }
  };

  /**
   * Returns why a pod no longer exists; a pod on the host's network and IPC has no namespaces to look for.
   */
  const whatIsLost = (record: SandboxRecord, alive: (namespacesDir: string) => boolean): string | undefined => {
    if (record.bootId !== undefined && record.bootId !== effects.bootId()) return 'the machine has started again since';
    if (record.namespacesDir !== undefined && !alive(record.namespacesDir)) return 'its namespaces are gone';
    if (!effects.files.stand(record.id)) return 'its files are gone';
    return sharing.isLost(record) ? 'the process that held its PID namespace has ended' : undefined;
  };

  const releaseAll = async (record: SandboxRecord): Promise<void> => {
    await sharing.end(record);
    if (!isHostNetwork(record)) await effects.network.detach(record.id);
    await settleAll([
      record.namespacesDir === undefined ? undefined : effects.namespaces.release(record.namespacesDir),
      effects.files.remove(record.id),
    ]);
  };
  /**
   * @param mayBeReady the write of the phase `ready` was reported as failed, and may have taken effect: the
   * next start would find a ready pod, part of which has been released
   */
  const takeBack = async (record: SandboxRecord, mayBeReady = false): Promise<void> => {
    if (mayBeReady && records.get(record.id) !== undefined) await records.put(record).catch(unlessGone);
    await releaseAll(record);
    await effects.cgroups.remove(record);
    await records.delete(record.id);
  };

  const stopLocked = async (id: string): Promise<void> => {
    const record = records.get(id);
    if (record === undefined || record.phase === 'stopped') return;
    const stopping: SandboxRecord = { ...record, phase: nextSandboxPhase(record.phase, 'stop-asked') };
    if (record.phase !== 'stopping') await records.put(stopping);
    await containers.stopAllOf(id);
    await releaseAll(stopping);
    await effects.cgroups.remove(stopping);
    await records.put({ ...withoutInfra(stopping), phase: nextSandboxPhase('stopping', 'resources-released') });
  };
  const removeLocked = async (id: string): Promise<void> => {
    const record = records.get(id);
    if (record === undefined) return;
    await stopLocked(id);
    await containers.removeAllOf(id);
    await effects.cgroups.remove(record);
    await records.delete(id);
    lostPods.delete(id);
  };

  return {
    run: async (config, runtimeHandler) => {
      const plan = planSandbox(config);
      if (config === undefined) throw new TypeError('unreachable: planSandbox refuses it');
      effects.requireHandler(runtimeHandler, config);
      const requestDigest = effects.digest({ config, runtimeHandler });
      return lock(`name ${plan.name}`, async () => {
        // Under this lock no other call creates it: a half-created pod is left from an attempt that could not
        // clean up.
        const abandoned = records.byName(plan.name);
        if (abandoned?.phase === 'creating') await takeBack(abandoned, true);
        const standing = records.byName(plan.name);
        if (standing === undefined) return establish(config, plan, runtimeHandler, requestDigest);
        const isLost = lostPods.has(standing.id);
        if (standing.phase === 'ready' && !isLost && standing.requestDigest === requestDigest) return standing;
        throw nameTaken(standing, isLost);
      });
    },
    stop: async (idOrPrefix) => {
      const record = records.find(idOrPrefix);
      if (record !== undefined) await lock(`sandbox ${record.id}`, () => stopLocked(record.id));
    },
    remove: async (idOrPrefix) => {
      const record = records.find(idOrPrefix);
      if (record !== undefined) await lock(`sandbox ${record.id}`, () => removeLocked(record.id));
    },
    require: (idOrPrefix) => {
      const record = records.find(idOrPrefix);
      if (record === undefined || record.phase === 'creating') throw sandboxNotFound(idOrPrefix);
      return record;
    },
    shareProcesses: (record) => sharing.share(record),
    list: () => records.list().filter((record) => record.phase !== 'creating'),
    recover: async (alive) => {
      const settle = async (record: SandboxRecord): Promise<void> => {
        if (record.phase === 'creating') return takeBack(record);
        const lost = record.phase === 'ready' ? whatIsLost(record, alive) : undefined;
        if (lost !== undefined) {
          lostPods.add(record.id);
          log.warn({ sandbox: record.id, lost }, 'a sandbox is gone, as after a reboot: it is stopped');
        }
        if (record.phase === 'stopping' || lost !== undefined) await stopLocked(record.id);
        else if (record.phase === 'ready') await sharing.recover(record);
      };
      for (const record of records.list()) {
        await settle(record).catch((cause: unknown) => {
          log.error({ sandbox: record.id, cause: reasonOf(cause) }, 'this sandbox could not be recovered at once');
          bringInOrder(record.id, settle);
        });
      }
    },
    close: () => {
      closed = true;
      sharing.close();
    },
  };
}

export function isHostNetwork(record: SandboxRecord): boolean {
  return planSandbox(record.config).hostNetwork;
}

function attachRequest(record: SandboxRecord): AttachRequest {
  const { metadata, portMappings, labels } = record.config;
  return {
    id: record.id,
    netns: `${record.namespacesDir}/net`,
    pod: { name: metadata?.name ?? '', namespace: metadata?.namespace ?? '', uid: metadata?.uid ?? '', labels },
    portMappings: toPortMappings(portMappings),
    capabilities: networkCapabilities(record.config, record.cgroupParent),
    networks: podNetworks(record.config.annotations, metadata?.namespace ?? ''),
  };
}

function nameTaken(standing: SandboxRecord, isLost: boolean): PortcullisError {
  const stopped = isLost || standing.phase !== 'ready';
  return new PortcullisError({
    code: 'RUNTIME_SANDBOX_NAME_TAKEN',
    kind: 'already-exists',
    attempted: 'run pod sandbox',
    on: standing.name,
    why: stopped
      ? `sandbox ${standing.id.slice(0, 13)} has this name and is not running`
      : `sandbox ${standing.id.slice(0, 13)} has this name and was asked for with another configuration`,
    fix: 'remove that sandbox, or ask with another metadata.attempt',
    details: { sandboxId: standing.id },
  });
}

function sandboxNotFound(id: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_SANDBOX_NOT_FOUND',
    kind: 'not-found',
    attempted: 'find pod sandbox',
    on: id,
    why: 'there is no such sandbox',
    fix: 'list sandboxes and use one of their ids',
  });
}
