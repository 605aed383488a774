import { join } from 'node:path';
import { NamespaceMode } from '../cri/contract/contract.types.ts';
import type { SandboxRecord } from './record.ts';

/** A namespace by its name in an OCI specification, and where it is mounted. */
interface NamespacePath {
  readonly type: string;
  readonly path: string;
}

/**
 * Returns the namespaces that belong to a pod, with the paths where they are mounted. Plugins and scripts for
 * networks find the pod's network namespace there. A namespace of the host is absent, as in an OCI
 * specification, and so are those of a stopped pod.
 */
export function namespacePaths({
  config,
  namespacesDir,
  phase,
}: Pick<SandboxRecord, 'config' | 'namespacesDir' | 'phase'>): NamespacePath[] {
  if (namespacesDir === undefined || phase === 'stopped') return [];
  const options = config.linux?.securityContext?.namespaceOptions;
  const at = (type: string, file: string): NamespacePath => ({ type, path: join(namespacesDir, file) });
  return [
    ...(options?.ipc === NamespaceMode.NODE ? [] : [at('ipc', 'ipc')]),
    ...(options?.network === NamespaceMode.NODE ? [] : [at('uts', 'uts'), at('network', 'net')]),
  ];
}
