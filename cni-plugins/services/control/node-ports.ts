import { tolerate } from '../../../base/errors/index.ts';
import { isDiskFull } from '../../../base/storage/index.ts';
import type { NetworkDatabase } from '../../database/database.ts';
import { hostPortHolderText } from '../../database/host-port-holder.ts';
import type { HostPortHolder } from '../../database/host-port-holder.ts';
import { ownNamespaceId } from '../../namespaces/namespace-id.ts';
import type { ServerKey } from '../model/model.ts';

/**
 * Keeps node ports of services and host ports of pods apart: a port of the host leads to one of them. Node
 * ports in the kernel are stored where the code that takes a host port looks. A service is refused a port
 * that a pod has.
 */
export interface NodePorts {
  /**
   * Returns which pod has the port as its host port, at any address of the host. Undefined: no pod has it, or
   * the key is not a node port.
   */
  holderOf(key: ServerKey): string | undefined;
  /**
   * Returns the service that had each node port when it was last written, by {@link portTextOf}. Includes
   * rows of another boot.
   */
  services(): ReadonlyMap<string, string>;
  /**
   * Writes all node ports in force, for this host network namespace and boot.
   * @throws STORAGE_DISK_FULL if one of them is not written, and not if others could not be removed
   */
  writeAll(existing: Iterable<readonly [ServerKey, { readonly service: string }]>): void;
  /** Writes one row inside the caller's transaction. @param service absent: the port is no longer in force */
  write(key: ServerKey, service: string | undefined): void;
}

const portOf = (key: ServerKey): { readonly protocol: string; readonly port: number } | undefined => {
  // Nearly every key has an address, and is not split.
  if (!key.includes(' * ')) return undefined;
  const [, protocol = '', , port] = key.split(' ');
  return { protocol, port: Number(port) };
};

/** Returns `tcp 30080` for either family, or undefined if the key is not a node port. Pure. */
export function portTextOf(key: ServerKey): string | undefined {
  const place = portOf(key);
  return place && `${place.protocol} ${place.port}`;
}

/** Returns `10.96.0.1 port 80/tcp`, for messages. Pure. */
export function placeTextOf(key: ServerKey): string {
  const [, protocol = '', address = '', port = ''] = key.split(' ');
  return address === '*' ? `the node port ${port}/${protocol}` : `${address} port ${port}/${protocol}`;
}

/** Acts in the network namespace of the calling thread. */
export function createNodePorts({ db, transaction }: Pick<NetworkDatabase, 'db' | 'transaction'>): NodePorts {
  const namespaceId = ownNamespaceId();
  const holder = db.prepare(
    `SELECT container_id, spec, origin FROM host_port JOIN attachment ON number = attachment
     WHERE host_port.realm = ? AND protocol = ? AND port = ? LIMIT 1`,
  );
  const put = db.prepare(
    'INSERT OR REPLACE INTO service_node_port (key, realm, protocol, port, service) VALUES (?, ?, ?, ?, ?)',
  );
  const remove = db.prepare('DELETE FROM service_node_port WHERE key = ?');
  const removeAll = db.prepare('DELETE FROM service_node_port');
  const list = db.prepare('SELECT key, realm AS namespaceId, service FROM service_node_port');
  const write: NodePorts['write'] = (key, service) => {
    const place = portOf(key);
    if (place === undefined) return;
    if (service === undefined) remove.run(key);
    else put.run(key, namespaceId, place.protocol, place.port, service);
  };
  return {
    holderOf(key) {
      const place = portOf(key);
      const row =
        place && (holder.get(namespaceId, place.protocol, place.port) as HostPortHolder | undefined);
      return row && hostPortHolderText(row);
    },
    services: () =>
      new Map(
        (list.all() as unknown as { key: string; service: string }[]).flatMap(({ key, service }) => {
          const text = portTextOf(key);
          return text === undefined ? [] : [[text, service] as const];
        }),
      ),
    writeAll(existing) {
      const wanted = new Map([...existing].map(([key, { service }]) => [key, service]));
      const found = list.all() as unknown as { key: string; namespaceId: string; service: string }[];
      const right = found.filter(
        (row) => row.namespaceId === namespaceId && wanted.get(row.key) === row.service,
      );
      // A full disk takes no write, and a daemon that starts there with unchanged rows needs none.
      if (right.length === wanted.size && right.length === found.length) return;
      // Rows that are too many, as of a damaged service, only keep pods off their ports until a later start.
      const isNeeded = right.length < wanted.size;
      tolerate(
        (thrown) => !isNeeded && isDiskFull(thrown),
        () =>
          transaction(() => {
            removeAll.run();
            for (const [key, service] of wanted) write(key, service);
          }),
      );
    },
    write,
  };
}
