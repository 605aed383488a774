import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { AttachRequest } from '../../cni-plugins/index.ts';
import { createdAfter } from '../state/identity.ts';
import { settleAll } from '../state/settle.ts';
import type { Sharing } from './sharing.ts';
import { nextSandboxPhase } from './lifecycle.ts';
import { nameNetwork } from './name-network.ts';
import { networkCapabilities } from './network-capabilities.ts';
import { podNetworks } from './pod-networks.ts';
import { toPortMappings } from './port-mappings.ts';
import type { SandboxRecord } from './record.ts';
import { takeBack } from './release.ts';
import type { ReleaseDeps } from './release.ts';
import type { SandboxEffects } from './sandbox-effects.ts';
import type { NodeSysctls } from './node-sysctls.ts';
import type { SandboxPlan } from './validate.ts';

export interface EstablishDeps extends ReleaseDeps {
  readonly effects: SandboxEffects;
  readonly sharing: Pick<Sharing, 'begin' | 'end' | 'isRequired' | 'watch'>;
  /**
   * Asks the plugins of the node. Rejects if a plugin refuses the pod. At that time, the pod exists and is
   * not yet recorded as ready, so that a refusal is not lost when the daemon is killed. Absent: there are no
   * plugins. The function with which it resolves informs the plugins that the pod never became ready; it
   * never fails.
   */
  readonly approve?: ((pod: SandboxRecord) => Promise<(() => Promise<void>) | undefined>) | undefined;
  readonly log: Logger;
}

/** A pod to create. Nothing with its name exists. */
export interface SandboxRequest extends NodeSysctls {
  readonly plan: SandboxPlan;
  readonly runtimeHandler: string;
  readonly requestDigest: string;
}

/**
 * Creates a pod: namespaces, network, files, and the process that holds a shared PID namespace. Call it under
 * the lock of its name.
 * @throws the errors of the effects. Nothing of the pod is left then, or the next start of the daemon removes
 * it
 */
export async function establish(deps: EstablishDeps, request: SandboxRequest): Promise<SandboxRecord> {
  const { records, effects, sharing, log } = deps;
  const { config, plan } = request;
  const intent = await intended(deps, request);
  let mayBeReady = false;
  let withdraw: (() => Promise<void>) | undefined;
  try {
    await records.put(intent);
    const attaching = plan.hostNetwork ? undefined : effects.network.attach(attachRequest(effects, intent));
    const hasShim = sharing.isRequired(request.runtimeHandler);
    const [attachment, , infra] = await settleAll([
      attaching,
      effects.files.make(intent, plan),
      // A sandbox reads the links of the pod when it starts.
      hasShim
        ? Promise.resolve(attaching).then(() => sharing.begin(intent))
        : plan.sharedPids
          ? sharing.begin(intent)
          : undefined,
    ]);
    const asks = plan.hostNetwork ? undefined : nameNetwork(config.annotations);
    if (asks !== undefined) await effects.askNames(intent, asks);
    const ready: SandboxRecord = {
      ...intent,
      phase: nextSandboxPhase(intent.phase, 'established'),
      ...(attachment !== undefined && { attachment }),
      ...(infra !== undefined && { infra }),
    };
    withdraw = await deps.approve?.(ready);
    mayBeReady = true;
    await records.put(ready);
    sharing.watch(ready);
    return ready;
  } catch (cause) {
    await withdraw?.();
    await takeBack(deps, intent, mayBeReady).catch((second: unknown) =>
      log.warn(
        { sandbox: intent.id, cause: reasonOf(second) },
        'a partly created sandbox remains until the next start removes it',
      ),
    );
    throw cause;
  }
}

/** Claims the namespaces of the pod, and returns the record of what is about to be created. */
async function intended(
  { effects, records, sharing }: Pick<EstablishDeps, 'effects' | 'records' | 'sharing'>,
  { config, ofNode, plan, runtimeHandler, requestDigest }: SandboxRequest,
): Promise<SandboxRecord> {
  const id = effects.newId();
  // Steps that leave nothing when they fail come before all steps that have to be undone.
  const cgroupParent = effects.cgroups.place(config.linux?.cgroupParent ?? '', id);
  const ownedCgroups = effects.cgroups.owned(cgroupParent);
  const namespacesDir = await effects.namespaces.claim(plan, runtimeHandler);
  return {
    id,
    name: plan.name,
    phase: 'creating',
    config,
    requestDigest,
    runtimeHandler,
    ...(namespacesDir !== undefined && { namespacesDir }),
    bootId: effects.bootId(),
    cgroupParent,
    ...(ofNode.length > 0 && { nodeSysctls: ofNode }),
    ownedCgroups,
    ...((plan.sharedPids || sharing.isRequired(runtimeHandler)) && { infra: {} }),
    createdAt: createdAfter(effects.now(), plan, records.list()),
  };
}

function attachRequest(
  { hasOwnStack }: Pick<SandboxEffects, 'hasOwnStack'>,
  record: SandboxRecord,
): AttachRequest {
  const { metadata, portMappings, labels } = record.config;
  return {
    id: record.id,
    netns: `${record.namespacesDir}/net`,
    pod: {
      name: metadata?.name ?? '',
      namespace: metadata?.namespace ?? '',
      uid: metadata?.uid ?? '',
      labels,
    },
    portMappings: toPortMappings(portMappings),
    capabilities: networkCapabilities(record.config, record.cgroupParent),
    networks: podNetworks(record.config.annotations, metadata?.namespace ?? ''),
    ...(hasOwnStack(record.runtimeHandler) && { ownStack: true }),
  };
}
