import type { Init } from '../../../base/protobuf/index.ts';
import { namespacePaths } from '../../pods/namespace-paths.ts';
import type { SandboxRecord } from '../../pods/record.ts';
import type { PodSandbox } from '../protocol/contract.types.ts';
import { resourcesMessage } from './container.ts';

/** Returns a pod as a message. Pure. Source: nri, pkg/api/api.proto, PodSandbox. */
export function sandboxMessage(record: SandboxRecord): Init<PodSandbox> {
  const { metadata, labels, annotations, linux } = record.config;
  return {
    id: record.id,
    name: metadata?.name ?? '',
    uid: metadata?.uid ?? '',
    namespace: metadata?.namespace ?? '',
    labels,
    annotations,
    runtimeHandler: record.runtimeHandler,
    linux: {
      ...(linux?.overhead !== undefined && { podOverhead: resourcesMessage(linux.overhead) }),
      ...(linux?.resources !== undefined && { podResources: resourcesMessage(linux.resources) }),
      cgroupParent: record.cgroupParent,
      namespaces: namespacePaths(record),
    },
    pid: record.infra?.process?.pid ?? 0,
    ips: (record.attachment?.ips ?? []).map(({ address }) => address.replace(/\/.*/, '')),
  };
}
