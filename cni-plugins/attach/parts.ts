import { parseJson } from '../../base/json/index.ts';
import type { Resource } from '../plugins/contract.ts';
import type { AttachmentKey } from '../spec/attachment-key.ts';
import type { CniResult } from '../spec/result.ts';
import type { NetworkDatabase } from './database.ts';

/** What CNI plugins made, in the database: an attachment of the origin `plugin`, and one part for each plugin of its chain. */
export interface PartStore {
  part(realm: string, key: AttachmentKey, type: string): Part | undefined;
  /** All parts of one attachment, in the order in which they were made. */
  chain(realm: string, key: AttachmentKey): readonly Part[];
  /** The number of the attachment, which is made where it is not there. Inside the caller's transaction. */
  attachment(realm: string, key: AttachmentKey, hostInterface: string): number;
  /** Intent: written before anything is made. Inside the caller's transaction. */
  begin(part: NewPart): Part;
  describe(part: Part, resources: readonly Resource[], result: CniResult): Part;
  setState(part: Part, state: PartState): void;
  /** With its leases and host ports, and with the attachment when it was the last one. */
  remove(part: Part): void;
  /** What a dead process left half made or half removed; with the kernel's lock held nobody else can be at it. */
  unfinished(realm: string): readonly Part[];
  /** What plugins after it in the chain made for the same attachment, in their order. */
  after(part: Part): readonly Resource[];
  /** What stands for a container, in whichever network. */
  of(realm: string, containerId: string): readonly Part[];
  /** Whether the attachment of a host's link has a part of the type that is not being removed; undefined: there is no such attachment. */
  has(realm: string, hostInterface: string, type: string): boolean | undefined;
  /** All parts of a realm, in the order in which they were made. */
  all(realm: string): readonly Part[];
}

export type PartState = 'making' | 'ready' | 'removing';

export interface Part {
  readonly attachment: number;
  readonly key: AttachmentKey;
  readonly type: string;
  readonly state: PartState;
  /** Path of the pod's network namespace, as its caller named it. */
  readonly netns: string;
  readonly resources: readonly Resource[];
  readonly result: CniResult;
}

export type NewPart = Omit<Part, 'state'>;

interface Row {
  readonly attachment: number;
  readonly network: string;
  readonly container_id: string;
  readonly interface: string;
  readonly type: string;
  readonly state: PartState;
  readonly netns: string;
  readonly resources: string;
  readonly result: string;
}

const resourcesOf = ({ resources }: Row): Resource[] => parseJson(resources) as Resource[];

const partOf = (row: Row): Part => ({
  attachment: row.attachment,
  key: { network: row.network, containerId: row.container_id, interface: row.interface },
  type: row.type,
  state: row.state,
  netns: row.netns,
  resources: resourcesOf(row),
  result: parseJson(row.result) as CniResult,
});

export function createPartStore({ db, transaction }: NetworkDatabase): PartStore {
  const columns = 'attachment, network, container_id, interface, type, part.state, netns, resources, result';
  const from = `SELECT ${columns} FROM part JOIN attachment ON number = attachment WHERE realm = ? AND origin = 'plugin'`;
  const selectOne = db.prepare(`${from} AND network = ? AND container_id = ? AND interface = ? AND type = ?`);
  const selectAll = db.prepare(`${from} ORDER BY number, position`);
  const selectOf = db.prepare(`${from} AND container_id = ? ORDER BY number, position`);
  const selectAfter = db.prepare(
    `SELECT ${columns} FROM part JOIN attachment ON number = attachment
     WHERE attachment = ?1 AND position > (SELECT position FROM part WHERE attachment = ?1 AND type = ?2) ORDER BY position`,
  );
  const selectChain = db.prepare(`${from} AND network = ? AND container_id = ? AND interface = ? ORDER BY position`);
  // Every act asks: by the index of the few that are not ready, never by all attachments of the realm.
  const selectUnfinished = db.prepare(
    `SELECT ${columns} FROM part INDEXED BY part_unfinished CROSS JOIN attachment ON number = attachment
     WHERE part.state <> 'ready' AND realm = ? AND origin = 'plugin' ORDER BY number DESC, position DESC`,
  );
  const selectHas = db.prepare(
    `SELECT EXISTS (SELECT 1 FROM part WHERE attachment = number AND type = ?3 AND part.state <> 'removing') AS has
     FROM attachment WHERE realm = ?1 AND host_interface = ?2 AND origin = 'plugin'`,
  );
  const insertAttachment = db.prepare(
    `INSERT INTO attachment (realm, origin, network, container_id, interface, state, class, host_interface, spec)
     VALUES (?, 'plugin', ?, ?, ?, 'ready', 'admin', ?, '{}') ON CONFLICT DO NOTHING`,
  );
  const selectNumber = db.prepare(
    "SELECT number FROM attachment WHERE realm = ? AND origin = 'plugin' AND network = ? AND container_id = ? AND interface = ?",
  );
  const insertPart = db.prepare(
    `INSERT INTO part (attachment, type, position, state, netns, resources, result)
     VALUES (?1, ?2, (SELECT coalesce(max(position), 0) + 1 FROM part WHERE attachment = ?1), 'making', ?3, ?4, ?5)`,
  );
  const updatePart = db.prepare('UPDATE part SET resources = ?, result = ? WHERE attachment = ? AND type = ?');
  const updateState = db.prepare('UPDATE part SET state = ? WHERE attachment = ? AND type = ?');
  const deletePart = db.prepare('DELETE FROM part WHERE attachment = ? AND type = ?');
  const deleteLeases = db.prepare('DELETE FROM lease WHERE attachment = ? AND part = ?');
  const deletePorts = db.prepare('DELETE FROM host_port WHERE attachment = ? AND part = ?');
  const deleteEmpty = db.prepare('DELETE FROM attachment WHERE number = ?1 AND NOT EXISTS (SELECT 1 FROM part WHERE attachment = ?1)');

  return {
    part(realm, key, type) {
      const row = selectOne.get(realm, key.network, key.containerId, key.interface, type) as Row | undefined;
      return row === undefined ? undefined : partOf(row);
    },
    chain: (realm, key) => (selectChain.all(realm, key.network, key.containerId, key.interface) as unknown as Row[]).map(partOf),
    attachment(realm, { network, containerId, interface: name }, hostInterface) {
      const { changes, lastInsertRowid } = insertAttachment.run(realm, network, containerId, name, hostInterface);
      if (changes === 1) return Number(lastInsertRowid);
      return (selectNumber.get(realm, network, containerId, name) as { number: number }).number;
    },
    begin(part) {
      insertPart.run(part.attachment, part.type, part.netns, JSON.stringify(part.resources), JSON.stringify(part.result));
      return { ...part, state: 'making' };
    },
    describe(part, resources, result) {
      updatePart.run(JSON.stringify(resources), JSON.stringify(result), part.attachment, part.type);
      return { ...part, resources, result };
    },
    setState: (part, state) => void updateState.run(state, part.attachment, part.type),
    remove(part) {
      transaction(() => {
        deletePart.run(part.attachment, part.type);
        deleteLeases.run(part.attachment, part.type);
        deletePorts.run(part.attachment, part.type);
        deleteEmpty.run(part.attachment);
      });
    },
    unfinished: (realm) => (selectUnfinished.all(realm) as unknown as Row[]).map(partOf),
    after: (part) => (selectAfter.all(part.attachment, part.type) as unknown as Row[]).flatMap(resourcesOf),
    of: (realm, containerId) => (selectOf.all(realm, containerId) as unknown as Row[]).map(partOf),
    has(realm, hostInterface, type) {
      const row = selectHas.get(realm, hostInterface, type) as { has: number } | undefined;
      return row === undefined ? undefined : row.has === 1;
    },
    all: (realm) => (selectAll.all(realm) as unknown as Row[]).map(partOf),
  };
}
