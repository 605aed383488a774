import { NamespaceMode } from '../../runtime/cri/contract/contract.types.ts';
import type { ContainerConfig, PodSandboxConfig } from '../../runtime/cri/contract/contract.types.ts';

const sharedPids = { securityContext: { namespaceOptions: { pid: NamespaceMode.POD } } };

export function podConfig(index: number): PodSandboxConfig {
  return {
    metadata: { name: `p${index}`, namespace: 'ns', uid: `u${index}`, attempt: 0 },
    hostname: '',
    logDirectory: '',
    portMappings: [],
    labels: {},
    annotations: {},
    // The first pod says that its containers share their processes; the second is told so by its containers.
    ...(index === 1 && { linux: sharedPids }),
  } as unknown as PodSandboxConfig;
}

export function containerConfig(name: string, image: string, shares = false): ContainerConfig {
  return {
    metadata: { name, attempt: 0 },
    image: { image, annotations: {}, userSpecifiedImage: '', runtimeHandler: '', imageRef: '' },
    ...(shares && { linux: sharedPids }),
  } as unknown as ContainerConfig;
}
