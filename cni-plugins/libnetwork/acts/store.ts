import { attempt } from '../../../base/errors/index.ts';
import { parseJson } from '../../../base/json/index.ts';
import type { NetworkDatabase } from '../../database/database.ts';
import type { PluginList } from '../../spec/plugin-list.ts';
import { endpointStands, networkInUse, networkStands, networkUnknown } from '../protocol/failures.ts';
import { bridgeNameOf } from './records.ts';
import type { CnmEndpoint, CnmNetwork, EndpointSpec, EndpointState } from './records.ts';

/**
 * Networks and endpoints in the database. A record that the disk damaged costs only its own network or
 * endpoint: it is returned as `damaged`, so that what it has can be removed. Synchronous, for a Worker.
 */
export interface CnmStore {
  network(id: string): CnmNetwork | undefined;
  /** Returns the networks whose records can be read. */
  networks(): readonly CnmNetwork[];
  /** Succeeds if the same network exists. Replaces one whose record is damaged. @throws NETWORK_EXISTS */
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

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null;

/** Returns a record, or undefined if its text is damaged. */
function recordIn(text: string, fields: readonly string[]): object | undefined {
  const value = attempt(() => parseJson(text));
  if (!isObject(value) || !isObject(value['list']) || !Array.isArray(value['list']['plugins']))
    return undefined;
  return fields.every((field) => value[field] !== undefined) ? value : undefined;
}

const specIn = (text: string): EndpointSpec | undefined =>
  recordIn(text, ['wanted', 'mac', 'maker']) as EndpointSpec | undefined;
const networkIn = (text: string): CnmNetwork | undefined =>
  recordIn(text, ['name', 'way', 'ipv4', 'ipv6', 'bridges']) as CnmNetwork | undefined;

/**
 * Plugins find what they made by the id of the endpoint. Upstream's portmap looks for it only if a port is
 * mapped, whichever it is.
 */
const damagedSpec = (list: PluginList): EndpointSpec => ({
  wanted: { Address: '', AddressIPv6: '', MacAddress: '' },
  mac: '',
  maker: { pid: 0, startTime: '', bootId: '' },
  list,
  ports: { bindings: [], mappings: [{ protocol: 'tcp', containerPort: 1, hostPort: 1 }] },
  damaged: true,
});

export function createCnmStore({ db, transaction }: NetworkDatabase): CnmStore {
  const selectNetwork = db.prepare('SELECT spec FROM cnm_network WHERE id = ?');
  const selectNetworks = db.prepare('SELECT spec FROM cnm_network ORDER BY id');
  const insertNetwork = db.prepare(
    'INSERT INTO cnm_network (id, spec) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET spec = excluded.spec',
  );
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

  const selectSpecs = db.prepare('SELECT spec FROM cnm_endpoint WHERE network = ?');
  const selectRecorded = db.prepare(
    `SELECT 1 FROM attachment JOIN cnm_endpoint ON cnm_endpoint.id = container_id
     WHERE origin = 'plugin' AND cnm_endpoint.network = ? LIMIT 1`,
  );
  /** The lists of its endpoints show the plugins, and records of attachments that ours ran in process. */
  const damagedNetwork = (id: string): CnmNetwork => {
    const specs = (selectSpecs.all(id) as { spec: string }[]).flatMap(({ spec }) => specIn(spec) ?? []);
    const nothing = { name: id, cniVersion: '1.0.0', disableCheck: false, disableGC: false, plugins: [] };
    const list = specs.find((spec) => spec.damaged === undefined)?.list ?? nothing;
    const way = selectRecorded.get(id) === undefined ? 'exec' : 'in-process';
    const rest = { internal: false, ipv4: [], ipv6: [], bridges: [bridgeNameOf(id)] };
    return { id, name: list.name, list, way, own: false, ...rest, damaged: true };
  };

  const network = (id: string): CnmNetwork | undefined => {
    const row = selectNetwork.get(id) as { spec: string } | undefined;
    return row === undefined ? undefined : (networkIn(row.spec) ?? damagedNetwork(id));
  };
  const endpointOf = ({ spec: text, ...row }: Row): CnmEndpoint => {
    const spec = specIn(text);
    if (spec !== undefined) return { ...row, spec };
    const { list } = network(row.network) ?? damagedNetwork(row.network);
    return { ...row, state: 'removing', spec: damagedSpec(list) };
  };
  const endpoint = (id: string): CnmEndpoint | undefined => {
    const row = selectEndpoint.get(id) as Row | undefined;
    return row === undefined ? undefined : endpointOf(row);
  };

  return {
    network,
    networks: () => (selectNetworks.all() as { spec: string }[]).flatMap(({ spec }) => networkIn(spec) ?? []),
    createNetwork: (wanted) =>
      transaction(() => {
        const found = network(wanted.id);
        const existing = found?.damaged === true ? undefined : found;
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
