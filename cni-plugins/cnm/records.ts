import type { ProcessIdentity } from '../../base/process/index.ts';
import type { PluginList } from '../spec/plugin-list.ts';
import type { CniResult } from '../spec/result.ts';
import type { PortMapping } from '../types.ts';
import type { EndpointInterface, IpamData, PortBinding } from './protocol.ts';

/** What the driver writes down. Plain JSON values. */

export interface CnmNetwork {
  readonly id: string;
  /** Of the CNI network. */
  readonly name: string;
  readonly list: PluginList;
  /** How its plugins are called: as programs, or ours in this process. */
  readonly way: 'exec' | 'in-process';
  /** Made of the engine's options, not of a conflist: its bridge goes with it, and addresses are the engine's. */
  readonly own: boolean;
  readonly internal: boolean;
  readonly ipv4: readonly IpamData[];
  readonly ipv6: readonly IpamData[];
  /** Bridges that were not there when the network was created: they go with it once nothing is on them. */
  readonly bridges: readonly string[];
}

export type EndpointState = 'making' | 'ready' | 'removing';

export interface CnmEndpoint {
  readonly id: string;
  readonly network: string;
  /** As in the table `attachment`. */
  readonly realm: string;
  readonly state: EndpointState;
  readonly spec: EndpointSpec;
}

export interface EndpointSpec {
  /** What the engine had chosen. */
  readonly wanted: EndpointInterface;
  /** What the plugins are told to give; empty: as they like. */
  readonly mac: string;
  /** The driver's process that is at work on it while it is not ready: nobody else may be. */
  readonly maker: ProcessIdentity;
  /** The engine's process that asked for it. */
  readonly owner?: ProcessIdentity;
  /** As the plugins got it. */
  readonly list: PluginList;
  /** Of the chain without its plugins for ports. */
  readonly result?: CniResult;
  /** In the engine's namespace, while no container has it. */
  readonly link?: EndpointLink;
  /** Path in the engine's root folder. Absent: not joined. */
  readonly sandbox?: string;
  readonly ports?: PublishedPorts;
}

export interface EndpointLink {
  readonly name: string;
  readonly mac: string;
}

export interface PublishedPorts {
  readonly bindings: readonly Required<PortBinding>[];
  readonly mappings: readonly PortMapping[];
  /** Absent while plugins are at it. */
  readonly done?: true;
}

/** In the namespace of staging: what the plugins are told. */
export const interfaceName = 'eth0';

/** At most 15 characters, one for each endpoint. */
export const linkNameOf = (endpoint: string): string => `pce${endpoint.replaceAll(/[^a-zA-Z0-9]/gu, '').slice(0, 12)}`;
