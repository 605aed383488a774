import type { AttachmentKey } from '../spec/attachment-key.ts';
import type { CniResult } from '../spec/result.ts';

/** One call of a CNI plugin, read and checked as far as the protocol goes. It passes between threads as it is. */
export interface PluginCall {
  /** `finish`: the second half of an ADD, see `joined` of the plugins' contract. */
  readonly verb: 'add' | 'finish' | 'del' | 'check' | 'gc' | 'status';
  /** Name of the program that was called, with or without the prefix `portcullis-`; the `type` of its configuration where it is none of ours. */
  readonly type: string;
  readonly caller: Caller;
  /** GC and STATUS are about a network: container id and interface are empty. */
  readonly key: AttachmentKey;
  /** CNI_NETNS as the caller wrote it; empty where it gave none. */
  readonly netns: string;
  /** Of our own runtime's pods: what is made is told by the rules from birth, and denied until they know it. */
  readonly bound?: boolean;
  /** CNI_NETNS_OVERRIDE: the pod's namespace may be the caller's own. */
  readonly netnsOverride?: boolean;
  /** CNI_ARGS. */
  readonly args: Readonly<Record<string, string>>;
  /** CNI_PATH, for address plugins that are not ours. */
  readonly path: readonly string[];
  /** The plugin's configuration as it came, with `runtimeConfig`. Problems are told as `stdin:line:column`. */
  readonly config: string;
  /** `prevResult` of the configuration, converted to 1.1. */
  readonly prevResult?: CniResult;
  /** Of `finish`. */
  readonly joined?: unknown;
  /** Of GC: `cni.dev/valid-attachments`. */
  readonly valid?: readonly { readonly containerId: string; readonly interface: string }[];
  /** Variables that an address plugin of others is handed on: TRACEPARENT, TRACESTATE, BAGGAGE. */
  readonly environment?: Readonly<Record<string, string>>;
}

/**
 * In whose namespaces a call acts. Descriptors of the engine's own process, open until the answer is there; absent: the engine's own.
 */
export interface Caller {
  /** The caller's network namespace, of /proc/PID/ns/net. */
  readonly netnsFd?: number;
  /** The caller's root folder, of /proc/PID/root: CNI_NETNS, CNI_PATH and dataDir are paths in it. */
  readonly rootFd?: number;
  /** Needed only to start address plugins of others in the caller's mount namespace. */
  readonly pid?: number;
}

/**
 * Does what a plugin is called for. ADD answers with its result, the other verbs with nothing.
 * Codes of the errors thrown, for the protocol's own numbers: NETWORK_CONFIG_INVALID · NETWORK_PLUGIN_UNKNOWN · NETWORK_FIELD_UNSUPPORTED ·
 * NETWORK_PREVIOUS_RESULT_MISSING · NETWORK_NETNS_MISSING · NETWORK_NETNS_INVALID (not one, or the caller's own) · NETWORK_ALREADY_ATTACHED ·
 * NETWORK_ADDRESSES_EXHAUSTED · NETWORK_ADDRESS_TAKEN · NETWORK_HOST_PORT_TAKEN · NETWORK_NOT_ATTACHED (CHECK) · NETWORK_DIFFERS (CHECK; details.differences) ·
 * NETWORK_NOT_AVAILABLE (STATUS: 50) · NETWORK_IPAM_FAILED (details.cniCode, an address plugin of others) · NETWORK_KERNEL_<ERRNO>
 */
export type CallPlugin = (call: PluginCall) => Promise<CniResult | undefined>;

/**
 * CHECK of a chain's plugins for one attachment, in their order and at once: one question to the engine's thread, one look into the pod's namespace.
 * @throws as {@link CallPlugin}, what the first plugin that finds a difference throws
 */
export type CheckPlugins = (calls: readonly PluginCall[]) => Promise<void>;
