import type { RemoteRecords } from '../../database/remote-store.ts';
import { endpointIdOf, networkIdOf } from './documents.ts';
import type { DriverRef, EndpointDocument, NetworkDocument } from './documents.ts';
import { defaultFolders } from './discover.ts';

/** The facts about the network in a call, which a damaged record may not contain any more. */
export interface CallFacts {
  readonly driver: DriverRef;
  readonly config: string;
  readonly path: readonly string[];
}

type Row<Document> = { readonly namespaceId: string; readonly document: Document };

/**
 * Replaces the documents of one network that the disk damaged, so that its attachments can be removed. The
 * ids at the driver follow from names. Addresses and pools of an IPAM driver are unknown, and are not
 * released. Pure.
 * @param call absent: the call names no configuration
 */
export function wholeDocuments(
  network: string,
  { networks, endpoints }: RemoteRecords,
  call: CallFacts | undefined,
): {
  readonly networks: readonly Row<NetworkDocument>[];
  readonly endpoints: readonly (Row<EndpointDocument> & RemoteRecords['endpoints'][number])[];
} {
  const factsIn = (namespaceId: string): CallFacts & { readonly id: string } => {
    const own = (rows: readonly Row<unknown>[]): unknown =>
      rows.find((row) => row.namespaceId === namespaceId && row.document !== undefined)?.document;
    const made = own(networks) as NetworkDocument | undefined;
    const other = own(endpoints) as EndpointDocument | undefined;
    const driver = made?.driver ?? other?.driver ?? call?.driver ?? { name: '', folders: defaultFolders };
    const config = JSON.stringify({ cniVersion: '1.1.0', name: network, type: 'cnm', driver: driver.name });
    return {
      driver,
      id: made?.id ?? other?.networkId ?? networkIdOf(namespaceId, network, driver.name),
      config: call?.config ?? other?.config ?? config,
      path: call?.path ?? other?.path ?? [],
    };
  };
  return {
    networks: networks.map(({ namespaceId, document }): Row<NetworkDocument> => {
      if (document !== undefined) return { namespaceId, document: document as NetworkDocument };
      const { driver, id } = factsIn(namespaceId);
      const rest = { settings: '', pools: [], created: 'made', damaged: true } as const;
      return { namespaceId, document: { id, driver, ...rest } };
    }),
    endpoints: endpoints.map((row) => {
      if (row.document !== undefined) return { ...row, document: row.document as EndpointDocument };
      const { driver, id, config, path } = factsIn(row.namespaceId);
      const steps = { created: 'asked', joined: 'asked', external: 'asked' } as const;
      const document: EndpointDocument = {
        id: endpointIdOf(id, { network, containerId: row.containerId, interface: row.interface }),
        networkId: id,
        driver,
        state: 'ready',
        netns: '',
        config,
        path,
        addresses: [],
        ...steps,
      };
      return { ...row, document };
    }),
  };
}
