import { resultAs } from '../spec/result-versions.ts';
import type { ListedPlugin } from '../spec/plugin-list.ts';
import type { CniResult } from '../spec/result.ts';
import type { ChainLink, ChainPod } from './chain.types.ts';

/** One call of one plugin of a chain, and what it is given. Pure. */

export type Command = 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS';

export interface Step {
  readonly command: Command;
  readonly plugin: ListedPlugin;
  readonly network: string;
  readonly version: string;
  /** What the plugin finds at its standard input. */
  readonly config: string;
  readonly prevResult?: CniResult;
  /** Of ADD, DEL and CHECK. */
  readonly of?: { readonly pod: ChainPod; readonly interface: string };
  /** Of GC. */
  readonly valid?: readonly ValidAttachment[];
}

export interface ValidAttachment {
  readonly containerId: string;
  readonly interface: string;
}

/** Calls a plugin. ADD answers with its result. */
export type RunStep = (step: Step) => Promise<CniResult | undefined>;

/** Calls plugins in their order, for CHECK. @throws what the first one that fails says */
export type RunSteps = (steps: readonly Step[]) => Promise<void>;

/** A plugin's configuration as libcni makes it (`buildOneConfig`): name and version of the list, the arguments that it declares, what stood before it. */
export function stepOf(
  command: Command,
  { network, list, capabilityArgs, interface: name }: Pick<ChainLink, 'network' | 'list' | 'capabilityArgs' | 'interface'>,
  plugin: ListedPlugin,
  pod: ChainPod | undefined,
  more: { readonly prevResult?: CniResult; readonly valid?: readonly ValidAttachment[] } = {},
): Step {
  const version = list.cniVersion;
  const declared = Object.entries(capabilityArgs).filter(([key]) => plugin.capabilities.includes(key));
  const { prevResult, valid } = more;
  const attachments = valid?.map((each) => ({ containerID: each.containerId, ifname: each.interface }));
  const config = {
    ...plugin.config,
    name: network,
    cniVersion: version,
    ...(declared.length > 0 && pod !== undefined && { runtimeConfig: Object.fromEntries(declared) }),
    ...(prevResult !== undefined && { prevResult: resultAs(prevResult, version) ?? { cniVersion: version, dns: {} } }),
    // Both names: the specification's, and the one that its text once had (containernetworking/cni issue 1101).
    ...(attachments !== undefined && { 'cni.dev/valid-attachments': attachments, 'cni.dev/attachments': attachments }),
  };
  return {
    command,
    plugin,
    network,
    version,
    config: JSON.stringify(config),
    ...(prevResult !== undefined && { prevResult }),
    ...(pod !== undefined && { of: { pod, interface: name } }),
    ...(valid !== undefined && { valid }),
  };
}

/** CNI_ARGS as CRI runtimes give them, where the pod brings none. */
export function argumentsOf({ id, pod, args }: ChainPod): Readonly<Record<string, string>> {
  if (args !== undefined) return args;
  const given = {
    IgnoreUnknown: '1',
    K8S_POD_NAMESPACE: pod.namespace,
    K8S_POD_NAME: pod.name,
    K8S_POD_INFRA_CONTAINER_ID: id,
    K8S_POD_UID: pod.uid,
  };
  // A name of Kubernetes has none of these; one that has would say more than its own pair.
  return Object.fromEntries(Object.entries(given).filter(([, value]) => !/[;=\0\n]/u.test(value)));
}
