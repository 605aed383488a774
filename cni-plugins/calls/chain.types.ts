import type { PluginList } from '../spec/plugin-list.ts';
import type { PodName } from '../spec/pod-name.ts';
import type { CniResult } from '../spec/result.ts';

/** One network of a pod that a chain of plugins attaches. It is recorded before the first plugin runs. */
export interface ChainLink {
  readonly network: string;
  /** Name of the interface in the pod. */
  readonly interface: string;
  /**
   * How the plugins are called: as programs, or ours in this process. DEL uses the same way, whatever the
   * configuration says by then.
   */
  readonly way: 'exec' | 'in-process';
  /** The list as it was at ADD. */
  readonly list: PluginList;
  /**
   * Arguments by capability. Each plugin gets those that it declares (CNI conventions, "Dynamic Plugin
   * specific fields").
   */
  readonly capabilityArgs: Readonly<Record<string, unknown>>;
  /** The result of the last plugin. Absent until ADD has finished. */
  readonly result?: CniResult;
}

/** The pod that the link belongs to. */
export interface ChainPod {
  readonly id: string;
  /** Empty: the namespace is gone. */
  readonly netns: string;
  readonly pod: PodName;
  /** CNI_ARGS that replace those that a CRI runtime passes. */
  readonly args?: Readonly<Record<string, string>>;
}

export interface ChainJob extends ChainPod {
  readonly links: readonly ChainLink[];
}
