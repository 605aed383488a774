import { NamespaceMode } from '../../cri/contract/contract.types.ts';
import type { ContainerConfig } from '../../cri/contract/contract.types.ts';
import { namespacePaths } from '../../pods/namespace-paths.ts';
import type { LinuxNamespace } from '../protocol/contract.types.ts';

/**
 * Returns the namespaces of a container: those of its pod, and its own, which have no path before it runs
 * (OCI runtime specification, config-linux.md, "Namespaces").
 */
export function containerNamespaces(
  sandbox: Parameters<typeof namespacePaths>[0],
  config: ContainerConfig,
): LinuxNamespace[] {
  const isHostPid = config.linux?.securityContext?.namespaceOptions?.pid === NamespaceMode.NODE;
  return [
    ...(isHostPid ? [] : [{ type: 'pid', path: '' }]),
    ...namespacePaths(sandbox),
    { type: 'mount', path: '' },
  ];
}
