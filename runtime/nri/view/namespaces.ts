import { join } from 'node:path';
import { NamespaceMode } from '../../cri/contract/contract.types.ts';
import type { ContainerConfig } from '../../cri/contract/contract.types.ts';
import type { SandboxRecord } from '../../pods/record.ts';
import type { LinuxNamespace } from '../protocol/contract.types.ts';

type Sandbox = Pick<SandboxRecord, 'config' | 'namespacesDir' | 'phase'>;

/**
 * Returns the namespaces that belong to a pod, with the paths where they are mounted. Plugins for networks
 * find the pod's network namespace there. A namespace of the host is absent, as in an OCI specification, and
 * so are those of a stopped pod.
 */
export function podNamespaces({ config, namespacesDir, phase }: Sandbox): LinuxNamespace[] {
  if (namespacesDir === undefined || phase === 'stopped') return [];
  const options = config.linux?.securityContext?.namespaceOptions;
  const at = (type: string, file: string): LinuxNamespace => ({ type, path: join(namespacesDir, file) });
  return [
    ...(options?.ipc === NamespaceMode.NODE ? [] : [at('ipc', 'ipc')]),
    ...(options?.network === NamespaceMode.NODE ? [] : [at('uts', 'uts'), at('network', 'net')]),
  ];
}

/**
 * Returns the namespaces of a container: those of its pod, and its own, which have no path before it runs
 * (OCI runtime specification, config-linux.md, "Namespaces").
 */
export function containerNamespaces(sandbox: Sandbox, config: ContainerConfig): LinuxNamespace[] {
  const isHostPid = config.linux?.securityContext?.namespaceOptions?.pid === NamespaceMode.NODE;
  return [
    ...(isHostPid ? [] : [{ type: 'pid', path: '' }]),
    ...podNamespaces(sandbox),
    { type: 'mount', path: '' },
  ];
}
