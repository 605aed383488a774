import type { IpAddress, IpPrefix } from './address.ts';
import type { ServiceRules } from './service-rules.ts';

/** A network as a conflist describes it, checked: nothing in it can be wrong any more. */
export interface NetworkConfig {
  readonly name: string;
  readonly cniVersion: string;
  readonly file: string;
  readonly bridge: BridgeConfig;
  /** One address is taken of each set. */
  readonly rangeSets: readonly RangeSet[];
  readonly routes: readonly RouteConfig[];
  /** Absent: no portmap plugin, or one without the capability. */
  readonly portMap?: { readonly snat: boolean } & HostPortRules;
  /** Plugins of ours that change the interface once it stands, in their order. */
  /** Its bridge declares the capability `aliases`: pods are found by name on it. */
  readonly named?: boolean;
  readonly chained: readonly ChainedPlugin[];
  /** What its file lets services of its members have. */
  readonly serviceRules?: ServiceRules;
}

/** Which host ports pods may have, beside those from 1024 on that no program of the host has. */
export interface HostPortRules {
  readonly privilegedPorts?: boolean;
  readonly heldPorts?: boolean;
}

export interface ChainedPlugin {
  /** Without the prefix `portcullis-`. */
  readonly type: string;
  /** JSON, as libcni passes it to the plugin, but for `prevResult`. */
  readonly config: string;
}

export interface BridgeConfig {
  readonly name: string;
  readonly isGateway: boolean;
  readonly isDefaultGateway: boolean;
  readonly ipMasq: boolean;
  /** Else each port sends back what came from it, so that a pod reaches itself by a service: `hairpinMode` has nothing to add. */
  readonly promiscuous: boolean;
  /** Absent: worked out from the default route's link. */
  readonly mtu?: number;
}

/** Ranges of one family that one address is taken from. */
export type RangeSet = readonly AddressRange[];

export interface AddressRange {
  readonly subnet: IpPrefix;
  /** First and last address that may be leased. */
  readonly start: IpAddress;
  readonly end: IpAddress;
  readonly gateway: IpAddress;
}

export interface RouteConfig {
  readonly destination: IpPrefix;
  /** Absent: the gateway of the pod's address. */
  readonly gateway?: IpAddress;
}
