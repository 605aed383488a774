import type { Init } from '../../base/protobuf/index.ts';
import { PodSandboxState } from '../cri/contract/contract.types.ts';
import type { PodSandbox, PodSandboxStatus } from '../cri/contract/contract.types.ts';
import { namespacePaths } from '../pods/namespace-paths.ts';
import type { SandboxRecord } from '../pods/record.ts';
import { requestJson } from './request-json.ts';

/** A sandbox that is stopping already counts as not ready, so that no new container is put into it. */
export function sandboxState(record: SandboxRecord): PodSandboxState {
  return record.phase === 'ready' ? PodSandboxState.SANDBOX_READY : PodSandboxState.SANDBOX_NOTREADY;
}

/** The entry of a list (cri-api PodSandbox). */
export function sandboxItem(record: SandboxRecord) {
  const { metadata, labels, annotations } = record.config;
  return {
    id: record.id,
    metadata,
    state: sandboxState(record),
    createdAt: record.createdAt,
    labels,
    annotations,
    runtimeHandler: record.runtimeHandler,
  } satisfies Init<PodSandbox>;
}

/** cri-api PodSandboxStatus. A pod in the host network namespace has no address of its own. */
export function sandboxStatus(record: SandboxRecord): Init<PodSandboxStatus> {
  const addresses =
    record.phase === 'ready'
      ? (record.attachment?.ips ?? []).map((ip) => ip.address.split('/')[0] ?? '')
      : [];
  return {
    ...sandboxItem(record),
    network: { ip: addresses[0] ?? '', additionalIps: addresses.slice(1).map((ip) => ({ ip })) },
    linux: { namespaces: { options: record.config.linux?.securityContext?.namespaceOptions ?? {} } },
  };
}

/**
 * Returns what `crictl inspectp` shows below the status. A pod has no OCI configuration; `runtimeSpec` has
 * the part in which scripts look for its network namespace, as with containerd and CRI-O.
 */
export function sandboxInfo(record: SandboxRecord): Record<string, string> {
  const { id, phase, runtimeHandler, namespacesDir, attachment, cgroupParent, infra } = record;
  return {
    info: JSON.stringify({
      id,
      phase,
      // The process that holds the PID namespace that its containers share. 0 if they share none.
      pid: infra?.process?.pid ?? 0,
      runtimeHandler,
      namespaces: namespacesDir,
      network: attachment,
      cgroupParent,
      config: requestJson('PodSandboxConfig', record.config),
      runtimeSpec: { linux: { namespaces: namespacePaths(record) } },
    }),
  };
}
