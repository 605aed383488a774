import type { ProcessIdentity } from '../../../base/process/index.ts';
import type { PluginList } from '../../spec/plugin-list.ts';
import type { CniResult } from '../../spec/result.ts';
import type { PortMapping } from '../../types.ts';
import type { EndpointInterface, IpamData, PortBinding } from '../protocol/protocol.ts';

/** The records of the driver. Plain JSON values. */

export interface CnmNetwork {
  readonly id: string;
  /** The name of the CNI network. */
  readonly name: string;
  readonly list: PluginList;
  /** How its plugins are called: as programs, or ours in this process. */
  readonly way: 'exec' | 'in-process';
  /**
   * Whether the network is built from the engine's options instead of a conflist. Then its bridge is removed
   * with it, and the engine assigns addresses.
   */
  readonly own: boolean;
  readonly internal: boolean;
  readonly ipv4: readonly IpamData[];
  readonly ipv6: readonly IpamData[];
  /**
   * Bridges that did not exist when the network was created. They are removed with it once nothing is
   * attached to them.
   */
  readonly bridges: readonly string[];
  /** The record cannot be read: the rest of the value is only good for removing what the network has. */
  readonly damaged?: true;
}

export type EndpointState = 'making' | 'ready' | 'removing';

export interface CnmEndpoint {
  readonly id: string;
  readonly network: string;
  /** As in the table `attachment`. */
  readonly namespaceId: string;
  readonly state: EndpointState;
  readonly spec: EndpointSpec;
}

export interface EndpointSpec {
  /** The addresses that the engine chose. */
  readonly wanted: EndpointInterface;
  /** The MAC address that the plugins have to assign. Empty: they choose. */
  readonly mac: string;
  /** The driver process that works on the endpoint while it is not ready. No other process may do so. */
  readonly maker: ProcessIdentity;
  /** The engine process that requested it. */
  readonly owner?: ProcessIdentity;
  /** The list as the plugins received it. */
  readonly list: PluginList;
  /** The result of the chain without its port plugins. */
  readonly result?: CniResult;
  /** The link in the engine's namespace, while no container has it. */
  readonly link?: EndpointLink;
  /** Path in the engine's root folder. Absent: not joined. */
  readonly sandbox?: string;
  readonly ports?: PublishedPorts;
  /**
   * The record cannot be read: the rest of the value is only good for removing the endpoint. A container may
   * have its link, which is unknown.
   */
  readonly damaged?: true;
}

export interface EndpointLink {
  readonly name: string;
  readonly mac: string;
}

export interface PublishedPorts {
  readonly bindings: readonly Required<PortBinding>[];
  readonly mappings: readonly PortMapping[];
  /** Absent while plugins are working on it. */
  readonly done?: true;
}

/** The name of the interface in the staging namespace, which is passed to the plugins. */
export const interfaceName = 'eth0';

const shortOf = (id: string): string => id.replaceAll(/[^a-zA-Z0-9]/gu, '').slice(0, 12);

/** Returns the link name of an endpoint, at most 15 characters. Each endpoint has its own. */
export const linkNameOf = (endpoint: string): string => `pce${shortOf(endpoint)}`;

/** Returns the name of the bridge of an own network that names no other, at most 15 characters. */
export const bridgeNameOf = (network: string): string => `pc-${shortOf(network)}`;
