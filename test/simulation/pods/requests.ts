import { NamespaceMode } from '../../../runtime/cri/contract/contract.types.ts';
import type { ContainerConfig, PodSandboxConfig } from '../../../runtime/cri/contract/contract.types.ts';

const hostNamespaces = {
  securityContext: { namespaceOptions: { network: NamespaceMode.NODE, ipc: NamespaceMode.NODE } },
  sysctls: {},
};
const sharedPids = { securityContext: { namespaceOptions: { pid: NamespaceMode.POD } } };

export function podConfig(index: number): PodSandboxConfig {
  return {
    metadata: { name: `p${index}`, namespace: 'ns', uid: `u${index}`, attempt: 0 },
    hostname: '',
    logDirectory: '',
    portMappings: [],
    labels: {},
    annotations: {},
    // In the second pod, the pod says that its containers share their processes; in the first, its containers
    // say so. The fourth has only namespaces of the host.
    ...(index === 1 && { linux: sharedPids }),
    ...(index === 3 && { linux: hostNamespaces }),
  } as unknown as PodSandboxConfig;
}

export function containerConfig(name: string, image: string, shares = false): ContainerConfig {
  return {
    metadata: { name, attempt: 0 },
    image: { image, annotations: {}, userSpecifiedImage: '', runtimeHandler: '', imageRef: '' },
    ...(shares && { linux: sharedPids }),
  } as unknown as ContainerConfig;
}
