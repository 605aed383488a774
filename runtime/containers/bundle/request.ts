import type { LinuxContainerResources } from '../../cri/contract/contract.types.ts';
import type { HostPaths } from '../../host-paths/host-paths.ts';
import type { ContainerCgroup } from '../../cgroups/cgroup-driver.ts';
import { checkedResources } from '../../cgroups/check-resources.ts';
import type { ContainerPlan } from '../../container-mounts/created-container.ts';
import type { ResourceSupport } from '../../cgroups/resource-support.ts';
import type { RuntimeHandler } from '../../oci/runtime-handler.ts';
import type { SandboxRecord } from '../../pods/record.ts';
import { planSandbox } from '../../pods/validate.ts';
import type { SandboxPlan } from '../../pods/validate.ts';
import type { AdmittedImage } from './admission.ts';
import type { CdiRegistry } from '../cdi/registry.ts';
import type { Confined, Confinement } from '../confinement/confinement.ts';
import { checkCgroupOptions, asksWritableCgroups } from './cgroup-view.ts';
import { hostRequest } from './host-request.ts';
import type { HostRequest } from './host-request.ts';
import type { PidNamespace } from '../pid-namespace.ts';
import type { ContainerRecord } from '../record.ts';
import type { Restore } from './restore.ts';
import { signalNumber, stopSignalOf } from '../stop-signal.ts';

/** The container that gets a bundle. */
export interface BundleRequest {
  readonly record: ContainerRecord;
  readonly sandbox: SandboxRecord;
  readonly admitted: AdmittedImage;
  readonly handler: RuntimeHandler;
  /** The folder of the bundle. */
  readonly bundle: string;
  /** The name of the file in the bundle to which the configuration is written. */
  readonly configName: string;
  readonly cgroup: ContainerCgroup;
  readonly pidNamespace: PidNamespace;
  /** The container is created from a checkpoint. */
  readonly restore?: Restore | undefined;
  /** Called when the request is known to be within its ceilings. */
  readonly accepted: () => void;
  /** Called with the plan of the container, before the runtime gets it. */
  readonly planned: (plan: ContainerPlan) => void;
  /** Called with the user, in ids of the host, to whom the cgroup of the container is given. */
  readonly delegated: (owner: { readonly uid: number; readonly gid: number }) => void;
  /** Called if the container may not use /dev/net/tun, which its runtime might allow nevertheless. */
  readonly withoutTun: () => void;
}

/** A request within its ceilings, for which nothing was created yet. */
export interface CheckedRequest extends BundleRequest {
  readonly plan: SandboxPlan;
  readonly stopSignal: string;
  readonly resources: LinuxContainerResources | undefined;
  readonly host: HostRequest;
  readonly confined: Confined;
}

/** Writable cgroups are asked for by a container, or offered by its handler. */
function writableCgroups(
  config: BundleRequest['record']['config'],
  handler: Pick<RuntimeHandler, 'writableCgroups'>,
): 'asked' | 'offered' | undefined {
  if (asksWritableCgroups(config)) return 'asked';
  return handler.writableCgroups === true ? 'offered' : undefined;
}

/**
 * Looks up what the request names on the host, and compares all of it with the ceilings. Creates nothing.
 * @throws PortcullisError the errors of `hostRequest` and of `Confinement.confine`, and those of a stop
 * signal and of resources that are not valid
 */
export async function checkRequest(
  deps: {
    readonly kubeletRoot: string;
    readonly cdi: CdiRegistry;
    readonly paths: HostPaths;
    readonly confinement: Confinement;
    readonly resourceSupport: ResourceSupport;
  },
  request: BundleRequest,
): Promise<CheckedRequest> {
  const { record, sandbox, admitted } = request;
  const { config } = record;
  checkCgroupOptions(config);
  const plan = planSandbox(sandbox.config);
  const stopSignal = stopSignalOf(config.stopSignal, admitted.image.config.stopSignal);
  signalNumber(stopSignal);
  const asks = config.linux?.resources;
  const resources = asks === undefined ? undefined : checkedResources(asks, deps.resourceSupport);
  const host = await hostRequest({
    config,
    beyond: record.adjusted?.beyond,
    sandbox,
    kubeletRoot: deps.kubeletRoot,
    cdi: deps.cdi,
    paths: deps.paths,
  });
  const confined = await deps.confinement.confine({
    config,
    sandbox,
    ceilings: admitted.verdict.ceilings,
    requested: admitted.verdict.requestedEntitlements,
    runtime: request.handler.kind,
    ...(request.handler.guestKernel !== undefined && { guestKernel: request.handler.guestKernel }),
    access: host.access,
    deviceMounts: host.edits?.mounts.map(({ destination }) => destination),
    sharesHostPids: request.pidNamespace.isHost,
    seccomp: record.adjusted?.beyond.seccomp,
    writableCgroups: writableCgroups(config, request.handler),
  });
  return { ...request, plan, stopSignal, resources, host, confined };
}
