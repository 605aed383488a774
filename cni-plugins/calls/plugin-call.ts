import type { AttachmentKey } from '../spec/attachment-key.ts';
import type { CniResult } from '../spec/result.ts';

/**
 * One call of a CNI plugin, parsed and checked as far as the protocol requires. It passes between threads
 * unchanged.
 */
export interface PluginCall {
  /** `finish`: the second half of an ADD, see `joined` of the plugins' contract. */
  readonly verb: 'add' | 'finish' | 'del' | 'check' | 'gc' | 'status';
  /**
   * Name of the program that was called, with or without the prefix `portcullis-`; if the program is not
   * ours, the `type` of its configuration.
   */
  readonly type: string;
  readonly caller: Caller;
  /** GC and STATUS apply to a network: container id and interface are empty. */
  readonly key: AttachmentKey;
  /** CNI_NETNS as the caller wrote it; empty if it passed none. */
  readonly netns: string;
  /**
   * Set for pods of our own runtime: the rules identify new links from the start, and deny them until the
   * links have elements.
   */
  readonly bound?: boolean;
  /** CNI_NETNS_OVERRIDE: the pod's namespace may be the caller's own. */
  readonly netnsOverride?: boolean;
  /** CNI_ARGS. */
  readonly args: Readonly<Record<string, string>>;
  /** CNI_PATH, for third-party IPAM plugins. */
  readonly path: readonly string[];
  /**
   * The plugin's configuration as it arrived, with `runtimeConfig`. Problems are reported as
   * `stdin:line:column`.
   */
  readonly config: string;
  /** `prevResult` of the configuration, converted to 1.1. */
  readonly prevResult?: CniResult;
  /** For `finish`. */
  readonly joined?: unknown;
  /** For GC: `cni.dev/valid-attachments`. */
  readonly valid?: readonly { readonly containerId: string; readonly interface: string }[];
  /** Variables that are passed on to third-party IPAM plugins: TRACEPARENT, TRACESTATE, BAGGAGE. */
  readonly environment?: Readonly<Record<string, string>>;
}

/**
 * The namespaces in which a call acts. The descriptors belong to the engine's own process, and stay open
 * until the call is answered. Absent: the engine's own namespaces.
 */
export interface Caller {
  /** The caller's network namespace, from /proc/PID/ns/net. */
  readonly netnsFd?: number;
  /** The caller's root folder, from /proc/PID/root: CNI_NETNS, CNI_PATH and dataDir are paths within it. */
  readonly rootFd?: number;
  /** Needed only to start third-party IPAM plugins in the caller's mount namespace. */
  readonly pid?: number;
}

/**
 * Executes a plugin call. ADD returns its result, the other verbs return nothing.
 * @throws errors with these codes, which map to the protocol's own numbers: NETWORK_CONFIG_INVALID ·
 * NETWORK_PLUGIN_UNKNOWN · NETWORK_FIELD_UNSUPPORTED · NETWORK_PREVIOUS_RESULT_MISSING ·
 * NETWORK_NETNS_MISSING · NETWORK_NETNS_INVALID (not one, or the caller's own) · NETWORK_ALREADY_ATTACHED ·
 * NETWORK_ADDRESSES_EXHAUSTED · NETWORK_ADDRESS_TAKEN · NETWORK_HOST_PORT_TAKEN · NETWORK_NOT_ATTACHED
 * (CHECK) · NETWORK_DIFFERS (CHECK; details.differences) · NETWORK_NOT_AVAILABLE (STATUS: 50) ·
 * NETWORK_IPAM_FAILED (details.cniCode, a third-party IPAM plugin) · NETWORK_DHCP_NO_LEASE ·
 * NETWORK_DHCP_NEEDS_DAEMON · NETWORK_KERNEL_<ERRNO>
 */
export type CallPlugin = (call: PluginCall) => Promise<CniResult | undefined>;

/**
 * Runs CHECK of a chain's plugins for one attachment, in their order and at once: one call to the engine's
 * thread, and one visit to the pod's namespace.
 * @throws as {@link CallPlugin}, the error of the first plugin that finds a difference
 */
export type CheckPlugins = (calls: readonly PluginCall[]) => Promise<void>;
