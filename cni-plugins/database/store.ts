import { parseJson } from '../../base/json/index.ts';
import type { LinkClass, LinkRules, PortMapping } from '../types.ts';
import type { Membership } from '../spec/memberships.ts';
import type { NetworkConfig } from '../spec/network-config.ts';
import { noServiceRules, ownerOfPod } from '../spec/service-rules.ts';
import type { NetworkDatabase } from './database.ts';
import type { Choice } from './ipam.ts';
import { createDamagedAttachments } from './damaged-attachments.ts';
import type { DamagedAttachment } from './damaged-attachments.ts';
import { namesOf } from './call-names.ts';
import { createLeases } from './leases.ts';
import { isListenedAt } from './host-sockets.ts';
import { createMembershipStore, ipamOf, memberNames } from './memberships.ts';
import { createNameStore } from './endpoint-names.ts';
import type { AttachmentRecord, AttachmentSpec, AttachmentState } from './record.ts';

/**
 * The pods of our own runtime in the database: attachments of the origin `pod` in the engine's own namespace.
 */
export interface NetworkStore {
  /**
   * In one BEGIN IMMEDIATE: takes the host ports, leases one address of each set and writes the record with
   * the state `attaching` and the class `deny`. An existing record is returned with `created: false`.
   * @throws NETWORK_ADDRESSES_EXHAUSTED · NETWORK_HOST_PORT_TAKEN · NETWORK_HOST_PORT_HELD · the errors of
   * joining services
   */
  claim(claim: Claim): { readonly record: AttachmentRecord; readonly created: boolean };
  /**
   * Writes the record of an attachment that plugins will create, in the state `attaching`, without allocating
   * anything.
   */
  begin(id: string, spec: AttachmentSpec): AttachmentRecord;
  setSpec(id: string, spec: AttachmentSpec): void;
  setState(id: string, state: AttachmentState): void;
  /**
   * Removes the names and memberships of an attachment that is being removed, so that others no longer find
   * it.
   */
  forgetNames(id: string): void;
  setClass(id: string, linkClass: LinkClass, rules: LinkRules): void;
  /**
   * Frees the ports of a detached pod. Unlike its addresses, they may be used again at once, because no rule
   * leads to the pod any more.
   */
  freeHostPorts(id: string): void;
  /** Frees the addresses and host ports as well. */
  remove(id: string): void;
  record(id: string): AttachmentRecord | undefined;
  records(): readonly AttachmentRecord[];
  /**
   * Returns the attachments whose records were damaged. No other operation except `remove` knows them. Their
   * addresses and ports stay taken, because their pods may still run.
   */
  damaged(): readonly DamagedAttachment[];
}

export interface Claim {
  readonly id: string;
  readonly hostInterface: string;
  readonly network: NetworkConfig;
  readonly portMappings: readonly PortMapping[];
  /** Services of the network that it joins. */
  readonly memberships: readonly Membership[];
  /** Returns the record's spec for the leased addresses. */
  readonly specOf: (choices: readonly Choice[]) => AttachmentSpec;
}

interface Row {
  readonly container_id: string;
  readonly state: AttachmentState;
  readonly class: LinkClass;
  readonly rules: string;
  readonly spec: string;
}

const recordOf = (row: Row): AttachmentRecord => ({
  id: row.container_id,
  state: row.state,
  class: row.class,
  rules: parseJson(row.rules) as LinkRules,
  spec: parseJson(row.spec) as AttachmentSpec,
});

export function createNetworkStore(database: NetworkDatabase, namespaceId: string): NetworkStore {
  const { db, transaction } = database;
  const leases = createLeases(database);
  const names = createNameStore(database);
  const members = createMembershipStore(database);
  const own = "realm = ?1 AND origin = 'pod'";
  const damaged = createDamagedAttachments(database, namespaceId);
  // Version 1 knew only one host network namespace: that of the engine that wrote it.
  transaction(() => {
    for (const table of ['attachment', 'lease', 'host_port'])
      db.prepare(`UPDATE ${table} SET realm = ? WHERE realm = ''`).run(namespaceId);
    damaged.empty();
  });

  const from = `SELECT container_id, state, class, rules, spec FROM attachment WHERE ${own} AND spec <> '{}'`;
  const selectOne = db.prepare(`${from} AND container_id = ?2`);
  const selectNumber = db.prepare(`SELECT number FROM attachment WHERE ${own} AND container_id = ?2`);
  const selectAll = db.prepare(`${from} ORDER BY number`);
  const insert = db.prepare(
    `INSERT INTO attachment (realm, origin, network, container_id, interface, state, class, host_interface, spec)
     VALUES (?, 'pod', ?, ?, ?, 'attaching', 'deny', ?, ?)`,
  );
  // The column keeps the attachment's own link name: a link that a plugin of ours created is in the plugin's
  // row.
  const updateSpec = db.prepare(`UPDATE attachment SET spec = ?3 WHERE ${own} AND container_id = ?2`);
  const updateState = db.prepare(`UPDATE attachment SET state = ?3 WHERE ${own} AND container_id = ?2`);
  const updateClass = db.prepare(
    `UPDATE attachment SET class = ?3, rules = ?4 WHERE ${own} AND container_id = ?2`,
  );
  const deleteNames = db.prepare(
    `DELETE FROM name WHERE attachment IN (SELECT number FROM attachment WHERE ${own} AND container_id = ?2)`,
  );
  const deleteMemberships = db.prepare(
    `DELETE FROM service_member WHERE attachment IN (SELECT number FROM attachment WHERE ${own} AND container_id = ?2)`,
  );
  const deleteOne = db.prepare(`DELETE FROM attachment WHERE ${own} AND container_id = ?2`);

  const record = (id: string): AttachmentRecord | undefined => {
    const row = selectOne.get(namespaceId, id) as Row | undefined;
    return row === undefined ? undefined : recordOf(row);
  };

  const putNames = (
    attachment: number | bigint,
    { id, network, memberships }: Claim,
    spec: AttachmentSpec,
  ): void => {
    const { interface: name, pod } = spec;
    const addresses = spec.addresses.map(({ ip }) => ip);
    const holder = {
      namespaceId,
      network: spec.network,
      holder: `${id}/${name}`,
      attachment,
      owner: ownerOfPod(pod.namespace),
    };
    const joined = {
      memberships,
      addresses,
      ipam: ipamOf(network.rangeSets),
      rules: network.serviceRules ?? noServiceRules,
    };
    const own = namesOf({ containerId: id, pod: pod.name, namespace: pod.namespace, aliases: [], addresses });
    names.put(holder, [...own, ...memberNames(joined)]);
    if (memberships.length > 0) members.put(holder, joined, isListenedAt);
  };

  const claimInside = (claim: Claim): AttachmentRecord => {
    const { id, hostInterface, network, portMappings, specOf } = claim;
    const request = { namespaceId, scope: '', network: network.name, rangeSets: network.rangeSets };
    const choices = leases.choose(request);
    const spec = specOf(choices);
    const { lastInsertRowid } = insert.run(
      namespaceId,
      network.name,
      id,
      spec.interface,
      hostInterface,
      JSON.stringify(spec),
    );
    const holder = { attachment: lastInsertRowid, part: '' };
    leases.takeHostPorts(namespaceId, portMappings, holder);
    leases.lease(request, choices, holder);
    if (network.named === true) putNames(lastInsertRowid, claim, spec);
    return { id, state: 'attaching', class: 'deny', rules: {}, spec };
  };

  return {
    claim: (claim) =>
      transaction(() => {
        const existing = record(claim.id);
        return existing === undefined
          ? { record: claimInside(claim), created: true }
          : { record: existing, created: false };
      }),
    begin(id, spec) {
      insert.run(namespaceId, spec.network, id, spec.interface, spec.hostInterface, JSON.stringify(spec));
      return { id, state: 'attaching', class: 'deny', rules: {}, spec };
    },
    setSpec: (id, spec) => void updateSpec.run(namespaceId, id, JSON.stringify(spec)),
    setState: (id, state) => void updateState.run(namespaceId, id, state),
    forgetNames(id) {
      deleteNames.run(namespaceId, id);
      deleteMemberships.run(namespaceId, id);
    },
    setClass: (id, linkClass, rules) =>
      void updateClass.run(namespaceId, id, linkClass, JSON.stringify(rules)),
    freeHostPorts(id) {
      const row = selectNumber.get(namespaceId, id) as { number: number } | undefined;
      if (row !== undefined) leases.freeHostPorts({ attachment: row.number, part: '' });
    },
    remove: (id) => void deleteOne.run(namespaceId, id),
    record,
    records: () => (selectAll.all(namespaceId) as unknown as Row[]).map(recordOf),
    damaged: damaged.all,
  };
}
