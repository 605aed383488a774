import { resultAs } from '../../spec/result-versions.ts';
import type { ListedPlugin } from '../../spec/plugin-list.ts';
import type { CniResult } from '../../spec/result.ts';
import type { ChainLink, ChainPod } from '../../calls/chain.types.ts';

/** One call of one plugin of a chain, and its input. Pure. */

export type Command = 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS';

export interface Step {
  readonly command: Command;
  readonly plugin: ListedPlugin;
  readonly network: string;
  readonly version: string;
  /** The plugin's standard input. */
  readonly config: string;
  readonly prevResult?: CniResult;
  /** For ADD, DEL and CHECK. */
  readonly of?: { readonly pod: ChainPod; readonly interface: string };
  /** For GC. */
  readonly valid?: readonly ValidAttachment[];
}

export interface ValidAttachment {
  readonly containerId: string;
  readonly interface: string;
}

/** Calls a plugin. ADD returns its result. */
export type RunStep = (step: Step) => Promise<CniResult | undefined>;

/** Calls plugins in their order, for CHECK. @throws the error of the first plugin that fails */
export type RunSteps = (steps: readonly Step[]) => Promise<void>;

/**
 * Builds a plugin's configuration as libcni does (`buildOneConfig`): name and version of the list, the
 * arguments that the plugin declares, and the previous result.
 */
export function stepOf(
  command: Command,
  {
    network,
    list,
    capabilityArgs,
    interface: name,
  }: Pick<ChainLink, 'network' | 'list' | 'capabilityArgs' | 'interface'>,
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
    ...(prevResult !== undefined && {
      prevResult: resultAs(prevResult, version) ?? { cniVersion: version, dns: {} },
    }),
    // Both names: the specification's, and the name that an earlier text of it used (containernetworking/cni
    // issue 1101).
    ...(attachments !== undefined && {
      'cni.dev/valid-attachments': attachments,
      'cni.dev/attachments': attachments,
    }),
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

/** Returns CNI_ARGS as CRI runtimes pass them, unless the pod brings its own. */
export function argumentsOf({ id, pod, args }: ChainPod): Readonly<Record<string, string>> {
  if (args !== undefined) return args;
  const given = {
    IgnoreUnknown: '1',
    K8S_POD_NAMESPACE: pod.namespace,
    K8S_POD_NAME: pod.name,
    K8S_POD_INFRA_CONTAINER_ID: id,
    K8S_POD_UID: pod.uid,
  };
  // Names of Kubernetes contain none of these characters. A value that does would add further pairs.
  return Object.fromEntries(Object.entries(given).filter(([, value]) => !/[;=\0\n]/u.test(value)));
}
