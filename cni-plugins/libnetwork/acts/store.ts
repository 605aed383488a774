import { parseJson } from '../../../base/json/index.ts';
import type { NetworkDatabase } from '../../database/database.ts';
import { endpointStands, networkInUse, networkStands, networkUnknown } from '../protocol/failures.ts';
import type { CnmEndpoint, CnmNetwork, EndpointSpec, EndpointState } from './records.ts';

/** Networks and endpoints in the database. Synchronous, for a Worker. */
export interface CnmStore {
  network(id: string): CnmNetwork | undefined;
  networks(): readonly CnmNetwork[];
  /** Succeeds if the same network exists. @throws NETWORK_EXISTS */
  createNetwork(network: CnmNetwork): void;
  /** Succeeds if the network is already gone. @throws NETWORK_IN_USE */
  removeNetwork(id: string): void;
  endpoint(id: string): CnmEndpoint | undefined;
  endpoints(): readonly CnmEndpoint[];
  /**
   * Records the intent before anything is created. Returns an existing endpoint.
   * @throws NETWORK_UNKNOWN · NETWORK_EXISTS (of another network)
   */
  begin(endpoint: Omit<CnmEndpoint, 'state'>): CnmEndpoint | undefined;
  update(id: string, state: EndpointState, spec: EndpointSpec): void;
  drop(id: string): void;
}

interface Row {
  readonly id: string;
  readonly network: string;
  readonly namespaceId: string;
  readonly state: EndpointState;
  readonly spec: string;
}

const endpointOf = ({ spec, ...row }: Row): CnmEndpoint => ({
  ...row,
  spec: parseJson(spec) as EndpointSpec,
});
const networkOf = ({ spec }: { readonly spec: string }): CnmNetwork => parseJson(spec) as CnmNetwork;

export function createCnmStore({ db, transaction }: NetworkDatabase): CnmStore {
  const selectNetwork = db.prepare('SELECT spec FROM cnm_network WHERE id = ?');
  const selectNetworks = db.prepare('SELECT spec FROM cnm_network ORDER BY id');
  const insertNetwork = db.prepare('INSERT INTO cnm_network (id, spec) VALUES (?, ?)');
  const deleteNetwork = db.prepare('DELETE FROM cnm_network WHERE id = ?');
  const countEndpoints = db.prepare('SELECT count(*) AS count FROM cnm_endpoint WHERE network = ?');
  const columns = 'SELECT id, network, realm AS namespaceId, state, spec FROM cnm_endpoint';
  const selectEndpoint = db.prepare(`${columns} WHERE id = ?`);
  const selectEndpoints = db.prepare(`${columns} ORDER BY id`);
  const insertEndpoint = db.prepare(
    "INSERT INTO cnm_endpoint (id, network, realm, state, spec) VALUES (?, ?, ?, 'making', ?)",
  );
  const updateEndpoint = db.prepare('UPDATE cnm_endpoint SET state = ?, spec = ? WHERE id = ?');
  const deleteEndpoint = db.prepare('DELETE FROM cnm_endpoint WHERE id = ?');

  const network = (id: string): CnmNetwork | undefined => {
    const row = selectNetwork.get(id) as { spec: string } | undefined;
    return row === undefined ? undefined : networkOf(row);
  };
  const endpoint = (id: string): CnmEndpoint | undefined => {
    const row = selectEndpoint.get(id) as Row | undefined;
    return row === undefined ? undefined : endpointOf(row);
  };

  return {
    network,
    networks: () => (selectNetworks.all() as { spec: string }[]).map(networkOf),
    createNetwork: (wanted) =>
      transaction(() => {
        const existing = network(wanted.id);
        // The list of its bridges comes from the first request.
        if (
          existing !== undefined &&
          JSON.stringify({ ...existing, bridges: [] }) !== JSON.stringify({ ...wanted, bridges: [] })
        )
          throw networkStands(wanted.id);
        if (existing === undefined) insertNetwork.run(wanted.id, JSON.stringify(wanted));
      }),
    removeNetwork: (id) =>
      transaction(() => {
        const { count } = countEndpoints.get(id) as { count: number };
        if (count > 0) throw networkInUse(id, count);
        deleteNetwork.run(id);
      }),
    endpoint,
    endpoints: () => (selectEndpoints.all() as unknown as Row[]).map(endpointOf),
    begin: ({ id, network: of, namespaceId, spec }) =>
      transaction(() => {
        if (network(of) === undefined) throw networkUnknown(of);
        const existing = endpoint(id);
        if (existing !== undefined && existing.network !== of) throw endpointStands(id);
        if (existing === undefined) insertEndpoint.run(id, of, namespaceId, JSON.stringify(spec));
        return existing;
      }),
    update: (id, state, spec) => void updateEndpoint.run(state, JSON.stringify(spec), id),
    drop: (id) => void deleteEndpoint.run(id),
  };
}
