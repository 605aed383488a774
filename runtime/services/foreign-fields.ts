import { badField } from '../cri/bad-field.ts';
import type {
  ContainerConfig,
  PodSandboxConfig,
  UpdateContainerResourcesRequest,
} from '../cri/contract/contract.types.ts';

/**
 * Refuses fields of a pod that mean nothing on this node, instead of running the pod without them.
 * @throws PortcullisError RUNTIME_BAD_REQUEST
 */
export function refuseForeignPodFields(config: PodSandboxConfig | undefined): void {
  refuseWindows('config.windows', config?.windows);
  // "The struct must be nil for LinuxSandboxSecurityContext" (cri-api NamespaceOption).
  if (config?.linux?.securityContext?.namespaceOptions?.cgroupnsOptions !== undefined)
    throw badField(
      'config.linux.security_context.namespace_options.cgroupns_options',
      'a pod has no cgroup namespace, only its containers',
      'send it in the configuration of each container',
    );
}

/** Does the same for a container. @throws PortcullisError RUNTIME_BAD_REQUEST */
export function refuseForeignContainerFields(config: ContainerConfig | undefined): void {
  refuseWindows('config.windows', config?.windows);
}

/** Does the same for an update of a container. @throws PortcullisError RUNTIME_BAD_REQUEST */
export function refuseForeignUpdateFields({ windows }: UpdateContainerResourcesRequest): void {
  refuseWindows('windows', windows);
}

function refuseWindows(field: string, value: object | undefined): void {
  if (value !== undefined) throw badField(field, 'this runtime runs Linux containers', 'remove it');
}
