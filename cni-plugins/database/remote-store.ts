import { attempt } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import { createDaemonAttachments } from './daemon-attachments.ts';
import type { NetworkDatabase } from './database.ts';
import { bootOf } from '../namespaces/namespace-id.ts';

/**
 * The requests that were sent to remote drivers of libnetwork, as documents that only `cnm-client` reads.
 * They are kept across a reboot: the links are gone then, but a driver may keep its own records.
 */
export interface RemoteStore {
  /**
   * Returns the records of one network: of this host network namespace, and those that earlier boots left.
   */
  read(namespaceId: string, network: string): RemoteRecords;
  /** Returns the names of networks with records. */
  networks(namespaceId: string): readonly string[];
  write(change: RemoteChange): void;
}

/** A document is undefined if its text is damaged. */
export interface RemoteRecords {
  readonly networks: readonly { readonly namespaceId: string; readonly document: unknown }[];
  readonly endpoints: readonly {
    readonly namespaceId: string;
    readonly containerId: string;
    readonly interface: string;
    readonly document: unknown;
    /** Whether no CNI runtime knows the attachment. */
    readonly isOfDaemon?: boolean;
  }[];
}

/** An absent document is removed. */
export type RemoteChange = {
  readonly namespaceId: string;
  readonly network: string;
  /** Absent: the network's own document. */
  readonly endpoint?: { readonly containerId: string; readonly interface: string };
  readonly document?: unknown;
};

function documentIn(text: string): object | undefined {
  const value = attempt(() => parseJson(text));
  return typeof value === 'object' && value !== null ? value : undefined;
}

export function createRemoteStore({ db }: Pick<NetworkDatabase, 'db'>): RemoteStore {
  const daemonAttachments = createDaemonAttachments({ db });
  // A row of another boot belongs to no existing host network namespace.
  const mine = '(realm = ?1 OR substr(realm, 1, ?2) <> ?3)';
  const selectNetworks = db.prepare(
    `SELECT realm AS namespaceId, document FROM remote_network WHERE ${mine} AND network = ?4`,
  );
  const selectEndpoints = db.prepare(
    `SELECT realm AS namespaceId, container_id, interface, document FROM remote_endpoint WHERE ${mine} AND network = ?4 ORDER BY realm, container_id, interface`,
  );
  const selectNames = db.prepare(
    `SELECT network FROM remote_network WHERE ${mine} UNION SELECT network FROM remote_endpoint WHERE ${mine} ORDER BY network`,
  );
  const putNetwork = db.prepare(
    'INSERT OR REPLACE INTO remote_network (realm, network, document) VALUES (?, ?, ?)',
  );
  const dropNetwork = db.prepare('DELETE FROM remote_network WHERE realm = ? AND network = ?');
  const putEndpoint = db.prepare(
    'INSERT OR REPLACE INTO remote_endpoint (realm, network, container_id, interface, document) VALUES (?, ?, ?, ?, ?)',
  );
  const dropEndpoint = db.prepare(
    'DELETE FROM remote_endpoint WHERE realm = ? AND network = ? AND container_id = ? AND interface = ?',
  );
  const existing = (namespaceId: string): [string, number, string] => [
    namespaceId,
    bootOf().length + 1,
    `${bootOf()}/`,
  ];
  return {
    read: (namespaceId, network) => ({
      networks: (
        selectNetworks.all(...existing(namespaceId), network) as unknown as {
          namespaceId: string;
          document: string;
        }[]
      ).map((row) => ({
        namespaceId: row.namespaceId,
        document: documentIn(row.document),
      })),
      endpoints: (
        selectEndpoints.all(...existing(namespaceId), network) as unknown as {
          namespaceId: string;
          container_id: string;
          interface: string;
          document: string;
        }[]
      ).map((row) => ({
        namespaceId: row.namespaceId,
        containerId: row.container_id,
        interface: row.interface,
        document: documentIn(row.document),
        isOfDaemon: daemonAttachments.has({ containerId: row.container_id, interface: row.interface }),
      })),
    }),
    networks: (namespaceId) =>
      (selectNames.all(...existing(namespaceId)) as unknown as { network: string }[]).map(
        ({ network }) => network,
      ),
    write({ namespaceId, network, endpoint, document }) {
      if (endpoint === undefined)
        return void (document === undefined
          ? dropNetwork.run(namespaceId, network)
          : putNetwork.run(namespaceId, network, JSON.stringify(document)));
      const { containerId, interface: name } = endpoint;
      if (document === undefined) dropEndpoint.run(namespaceId, network, containerId, name);
      else putEndpoint.run(namespaceId, network, containerId, name, JSON.stringify(document));
    },
  };
}
