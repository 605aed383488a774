import { createHash } from 'node:crypto';
import type { AttachmentKey } from '../../spec/attachment-key.ts';
import type { CnmConfig } from '../../plugins/cnm/config.ts';
import type { RequestAddressRequest, RequestPoolRequest } from '../protocol/protocol.ts';
import { defaultFolders } from './discover.ts';
import type { DriverFolders } from './discover.ts';

/**
 * The records of networks and endpoints of remote drivers. Each creation is recorded as `asked` before the
 * request to the driver, and as `made` after its answer, so that a later process knows what may exist. Plain
 * JSON values.
 */
export interface DriverRef {
  readonly name: string;
  readonly folders: DriverFolders;
}

export type Step = 'asked' | 'made';

/**
 * The driver was asked to delete the object, and its answer was never received. If it refuses after that, it
 * no longer has the object.
 */
export type Deleting = 'asked';

export interface NetworkDocument {
  readonly id: string;
  readonly driver: DriverRef;
  /**
   * The settings of the configuration that created the network. Other settings are refused while the network
   * is in use.
   */
  readonly settings: string;
  readonly pools: readonly PoolDocument[];
  readonly created?: Step;
  readonly deleting?: Deleting;
  /** How often the driver refused to delete the network. */
  readonly refusals?: number;
  /** The record was damaged: settings and pools are unknown. */
  readonly damaged?: true;
}

export interface PoolDocument {
  readonly driver: DriverRef;
  readonly request: RequestPoolRequest;
  /** Absent: the pool was requested, and no answer arrived. */
  readonly given?: { readonly poolId: string; readonly pool: string };
  /** CIDR. */
  readonly gateway?: string;
  /** The gateway address was requested and must be released. */
  readonly gatewayHeld?: boolean;
}

export interface EndpointDocument {
  readonly id: string;
  readonly networkId: string;
  readonly driver: DriverRef;
  readonly state: 'making' | 'ready' | 'removing';
  /** For the DEL of the kernel's half. */
  readonly netns: string;
  readonly config: string;
  readonly path: readonly string[];
  readonly addresses: readonly AddressDocument[];
  readonly created?: Step;
  readonly joined?: Step;
  readonly external?: Step;
  readonly deleting?: Deleting;
  /** How often the driver refused to delete the endpoint. */
  readonly refusals?: number;
}

export interface AddressDocument {
  readonly driver: DriverRef;
  readonly request: RequestAddressRequest;
  /** CIDR. Absent: no answer arrived. */
  readonly given?: string;
}

/** After this many refusals we assume that the driver does not have the object that it is asked to delete. */
export const mostRefusals = 3;

const digest = (...parts: readonly string[]): string =>
  createHash('sha256').update(parts.join('\0')).digest('hex');

/**
 * Derives ids of 64 digits, like docker's. They are a function of the names, so that a request that was sent
 * before a crash and is sent again has the same id.
 * @param namespaceId a boot and a namespace; a network is the same after the next boot
 */
export const networkIdOf = (namespaceId: string, network: string, driver: string): string =>
  digest('network', namespaceId.slice(namespaceId.indexOf('/') + 1), network, driver);
export const endpointIdOf = (networkId: string, { containerId, interface: name }: AttachmentKey): string =>
  digest('endpoint', networkId, containerId, name);

export const foldersOf = ({ socketDirs, specDirs }: CnmConfig): DriverFolders => ({
  socketDirs: socketDirs ?? defaultFolders.socketDirs,
  specDirs: specDirs ?? defaultFolders.specDirs,
});

/**
 * Returns the settings of a network that the driver received.
 * @param ipam the value in the configuration; with another IPAM plugin it is another network
 */
export const settingsOf = (
  { driver, driverOptions, internal, ipam, mtu }: CnmConfig,
  given: unknown,
): string =>
  digest(
    JSON.stringify([
      driver,
      Object.entries(driverOptions).toSorted(),
      internal,
      ipam ?? given ?? null,
      mtu ?? 0,
    ]),
  );
