import type { IpAddress, IpPrefix } from '../../base/addresses/index.ts';
import type { ServiceRules } from './service-rules.ts';

/** A network as a conflist describes it. It is checked, so every value is valid. */
export interface NetworkConfig {
  readonly name: string;
  readonly cniVersion: string;
  readonly file: string;
  readonly bridge: BridgeConfig;
  /** One address is taken from each set. */
  readonly rangeSets: readonly RangeSet[];
  readonly routes: readonly RouteConfig[];
  /** Absent: no portmap plugin, or one without the capability. */
  readonly portMap?: { readonly snat: boolean } & HostPortRules;
  /** Its bridge declares the capability `aliases`: pods on it are found by name. */
  readonly named?: boolean;
  /** Plugins of ours that change the interface after it is set up, in their order. */
  readonly chained: readonly ChainedPlugin[];
  /** Permissions of the network's file for the services of its members. */
  readonly serviceRules?: ServiceRules;
}

/** Host ports that pods may use, in addition to those from 1024 on that no program of the host uses. */
export interface HostPortRules {
  readonly privilegedPorts?: boolean;
  readonly heldPorts?: boolean;
}

export interface ChainedPlugin {
  /** Without the prefix `portcullis-`. */
  readonly type: string;
  /** JSON as libcni passes it to the plugin, without `prevResult`. */
  readonly config: string;
}

export interface BridgeConfig {
  readonly name: string;
  readonly isGateway: boolean;
  readonly isDefaultGateway: boolean;
  readonly ipMasq: boolean;
  /**
   * If false, each port sends back the frames that came from it, so that a pod reaches itself through a
   * service. `hairpinMode` then has no additional effect.
   */
  readonly promiscuous: boolean;
  /** Absent: taken from the link of the default route. */
  readonly mtu?: number;
}

/** Ranges of one family from which one address is taken. */
export type RangeSet = readonly AddressRange[];

export interface AddressRange {
  readonly subnet: IpPrefix;
  /** `start` and `end` are the first and last address that may be leased. */
  readonly start: IpAddress;
  readonly end: IpAddress;
  readonly gateway: IpAddress;
}

export interface RouteConfig {
  readonly destination: IpPrefix;
  /** Absent: the gateway of the pod's address. */
  readonly gateway?: IpAddress;
}
