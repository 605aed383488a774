import { NamespaceMode } from '../cri/contract/contract.types.ts';
import { unlessGone } from '../state/deleted-rows.ts';
import type { Records } from '../state/records.ts';
import { settleAll } from '../state/settle.ts';
import type { Sharing } from './sharing.ts';
import { withoutInfra } from './sharing.ts';
import { nextSandboxPhase } from './lifecycle.ts';
import type { SandboxRecord } from './record.ts';
import type { SandboxEffects } from './sandbox-effects.ts';

/** The operations on a pod's containers that the sandbox needs. */
export interface ContainersOfSandbox {
  /**
   * Fails every creation of a container in the sandbox that waits or is in progress. A creation holds the
   * lock of the sandbox, and its OCI runtime may not answer: a stop must not wait for it.
   */
  endCreationsOf(sandbox: SandboxRecord): void;
  /** Kills every container of the sandbox; none runs when it resolves. */
  stopAllOf(sandboxId: string): Promise<void>;
  removeAllOf(sandboxId: string): Promise<void>;
  /** Called when a pod is ready: its containers are likely to be created soon. */
  expect(sandbox: SandboxRecord): void;
}

export interface StopDeps extends ReleaseDeps {
  readonly containers: ContainersOfSandbox;
  /** Called for a pod whose containers were stopped, before its network is removed. It never fails. */
  readonly stopping?: ((pod: SandboxRecord) => Promise<void>) | undefined;
}

export interface ReleaseDeps {
  readonly records: Records<SandboxRecord>;
  readonly effects: Pick<SandboxEffects, 'network' | 'namespaces' | 'files' | 'cgroups'>;
  readonly sharing: Pick<Sharing, 'end'>;
}

/**
 * Releases everything that a half-created pod has on the host, and then deletes its record.
 * @param mayBeReady the write of the phase `ready` was reported as failed, and may have taken effect: the
 * next start would find a ready pod, part of which has been released
 * @throws the error of a step that failed. The record stays, and the call may be repeated
 */
export async function takeBack(deps: ReleaseDeps, record: SandboxRecord, mayBeReady = false): Promise<void> {
  const { records, effects } = deps;
  if (mayBeReady && records.get(record.id) !== undefined) await records.put(record).catch(unlessGone);
  await releaseAll(deps, record);
  await effects.cgroups.remove(record);
  await records.delete(record.id);
}

/**
 * Stops a pod: its containers first, then everything that it has on the host. Call it under the lock of the
 * sandbox. Unknown or stopped: success.
 * @throws the error of a step that failed. The pod stays in the phase `stopping`, and the call may be
 * repeated
 */
export async function stopSandbox(deps: StopDeps, id: string): Promise<void> {
  const { records, effects } = deps;
  const record = records.get(id);
  if (record === undefined || record.phase === 'stopped') return;
  const stopping: SandboxRecord = { ...record, phase: nextSandboxPhase(record.phase, 'stop-asked') };
  // Processes end even if nothing can be recorded, for example because the disk fails.
  const recorded = record.phase === 'stopping' ? Promise.resolve() : records.put(stopping);
  await recorded.catch(() => undefined);
  await deps.containers.stopAllOf(id);
  await recorded;
  await deps.stopping?.(stopping);
  await releaseAll(deps, stopping);
  await effects.cgroups.remove(stopping);
  await records.put({ ...withoutInfra(stopping), phase: nextSandboxPhase('stopping', 'resources-released') });
}

/**
 * Stops a pod, and removes it with its containers. Call it under the lock of the sandbox. Unknown: success.
 * @throws the error of a step that failed. The call may be repeated
 */
export async function removeSandbox(deps: StopDeps, id: string): Promise<void> {
  const { records, effects, containers } = deps;
  const record = records.get(id);
  if (record === undefined) return;
  await stopSandbox(deps, id);
  await containers.removeAllOf(id);
  await effects.cgroups.remove(record);
  await records.delete(id);
}

async function releaseAll({ effects, sharing }: ReleaseDeps, record: SandboxRecord): Promise<void> {
  await sharing.end(record);
  if (!isHostNetwork(record)) await effects.network.detach(record.id);
  await settleAll([
    record.namespacesDir === undefined ? undefined : effects.namespaces.release(record.namespacesDir),
    effects.files.remove(record.id),
  ]);
}

/** Without a check of the request: a former version may have accepted what this one refuses. */
function isHostNetwork({ config }: SandboxRecord): boolean {
  return config.linux?.securityContext?.namespaceOptions?.network === NamespaceMode.NODE;
}
