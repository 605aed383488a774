import { sysctlNamespace } from '../../base/kernel/index.ts';
import type { PodSandboxConfig } from '../cri/contract/contract.types.ts';
import { NamespaceMode } from '../cri/contract/contract.types.ts';
import { dottedSysctl } from './validate.ts';

export interface NodeSysctls {
  /** The request, with the sysctls of the node that it does not set itself. */
  readonly config: PodSandboxConfig;
  /**
   * Names, with dots, of the sysctls that have the value of the node. No ceiling restricts these, because the
   * node sets them in every pod: a kubelet with `defaultPodSysctls` also sends them as a part of the request.
   */
  readonly ofNode: readonly string[];
}

/**
 * Adds the sysctls that the configuration of the node sets in every pod. A value of the pod takes precedence.
 * A pod does not get the sysctls of a namespace that it shares with the host. Pure.
 * @param sysctls by name, with dots
 */
export function withNodeSysctls(
  config: PodSandboxConfig,
  sysctls: Readonly<Record<string, string>>,
): NodeSysctls {
  const options = config.linux?.securityContext?.namespaceOptions;
  const given = new Map(
    Object.entries(config.linux?.sysctls ?? {}).map(([name, value]) => [dottedSysctl(name), value]),
  );
  const isShared = (name: string): boolean =>
    (sysctlNamespace(name) === 'ipc' ? options?.ipc : options?.network) === NamespaceMode.NODE;
  const fitting = Object.entries(sysctls).filter(([name]) => !isShared(name));
  const added = Object.fromEntries(fitting.filter(([name]) => !given.has(name)));
  const ofNode = fitting
    .filter(([name, value]) => (given.get(name) ?? value) === value)
    .map(([name]) => name);
  if (Object.keys(added).length === 0) return { config, ofNode };
  const linux = config.linux ?? { cgroupParent: '', sysctls: {} };
  return { config: { ...config, linux: { ...linux, sysctls: { ...added, ...linux.sysctls } } }, ofNode };
}
