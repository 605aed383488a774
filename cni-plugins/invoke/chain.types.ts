import type { PluginList } from '../spec/plugin-list.ts';
import type { CniResult } from '../spec/result.ts';
import type { PodName } from '../types.ts';

/** One network of a pod that a chain of plugins attaches, as it is written down before the first of them runs. */
export interface ChainLink {
  readonly network: string;
  /** In the pod. */
  readonly interface: string;
  /** How its plugins are called: as programs, or ours in this process. DEL goes the same way, whatever the configuration says by then. */
  readonly way: 'exec' | 'in-process';
  /** As it was at ADD. */
  readonly list: PluginList;
  /** By name; each plugin gets those that it declares (CNI conventions, "Dynamic Plugin specific fields"). */
  readonly capabilityArgs: Readonly<Record<string, unknown>>;
  /** Of the last plugin; absent before ADD is done. */
  readonly result?: CniResult;
}

/** Whose link it is. */
export interface ChainPod {
  readonly id: string;
  /** Empty: the namespace is gone. */
  readonly netns: string;
  readonly pod: PodName;
  /** CNI_ARGS in place of those that a CRI runtime gives. */
  readonly args?: Readonly<Record<string, string>>;
}

export interface ChainJob extends ChainPod {
  readonly links: readonly ChainLink[];
}
