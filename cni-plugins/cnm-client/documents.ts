import { createHash } from 'node:crypto';
import type { AttachmentKey } from '../spec/attachment-key.ts';
import type { CnmConfig } from '../plugins/cnm/config.ts';
import type { RequestAddressRequest, RequestPoolRequest } from '../cnm/protocol.ts';
import { defaultFolders } from './discover.ts';
import type { DriverFolders } from './discover.ts';

/**
 * What is written down of networks and endpoints of remote drivers. Whatever a driver is asked to make is written before the request, as
 * `asked`, and after its answer, as `made`: so that whoever comes later knows what may be there. Plain JSON values.
 */
export interface DriverRef {
  readonly name: string;
  readonly folders: DriverFolders;
}

export type Step = 'asked' | 'made';

/** The driver was told to delete it, and what it answered was never heard: who then refuses has nothing of it any more. */
export type Deleting = 'asked';

export interface NetworkDocument {
  readonly id: string;
  readonly driver: DriverRef;
  /** Of the configuration what the network was made by: another one is refused while it is in use. */
  readonly settings: string;
  readonly pools: readonly PoolDocument[];
  readonly created?: Step;
  readonly deleting?: Deleting;
  /** How often the driver refused to delete it. */
  readonly refusals?: number;
}

export interface PoolDocument {
  readonly driver: DriverRef;
  readonly request: RequestPoolRequest;
  /** Absent: it was asked for, and no answer came. */
  readonly given?: { readonly poolId: string; readonly pool: string };
  /** CIDR. */
  readonly gateway?: string;
  /** It was requested, and must be released. */
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
  /** How often the driver refused to delete it. */
  readonly refusals?: number;
}

export interface AddressDocument {
  readonly driver: DriverRef;
  readonly request: RequestAddressRequest;
  /** CIDR; absent: no answer came. */
  readonly given?: string;
}

/** A driver that refuses more often is believed: it holds nothing of what it is told to delete. */
export const mostRefusals = 3;

const digest = (...parts: readonly string[]): string => createHash('sha256').update(parts.join('\0')).digest('hex');

/**
 * Ids of 64 digits, as docker's. They follow from what is named, so that a request that was sent before a crash and is sent again means
 * the same.
 * @param realm a boot and a namespace; a network is the same after the next boot
 */
export const networkIdOf = (realm: string, network: string, driver: string): string =>
  digest('network', realm.slice(realm.indexOf('/') + 1), network, driver);
export const endpointIdOf = (networkId: string, { containerId, interface: name }: AttachmentKey): string =>
  digest('endpoint', networkId, containerId, name);

export const foldersOf = ({ socketDirs, specDirs }: CnmConfig): DriverFolders => ({
  socketDirs: socketDirs ?? defaultFolders.socketDirs,
  specDirs: specDirs ?? defaultFolders.specDirs,
});

/** What the driver was told of a network. @param ipam as the configuration has it: another address plugin is another network */
export const settingsOf = ({ driver, driverOptions, internal, ipam, mtu }: CnmConfig, given: unknown): string =>
  digest(JSON.stringify([driver, Object.entries(driverOptions).toSorted(), internal, ipam ?? given ?? null, mtu ?? 0]));
