import { parseJson } from '../../base/json/index.ts';
import type { Resource } from '../plugins/contract/contract.ts';
import type { AttachmentKey } from '../spec/attachment-key.ts';
import type { CniResult } from '../spec/result.ts';
import type { NetworkDatabase } from './database.ts';
import { createPartRemoval } from './part-removal.ts';

/**
 * Attachments that CNI plugins created, in the database: each has the origin `plugin`, and one plugin
 * attachment (`part`) for each plugin of its chain.
 */
export interface PluginAttachmentStore {
  part(namespaceId: string, key: AttachmentKey, type: string): PluginAttachment | undefined;
  /** Returns all plugin attachments of one attachment, in the order of creation. */
  chain(namespaceId: string, key: AttachmentKey): readonly PluginAttachment[];
  /**
   * Returns the number of the attachment, which is created if it does not exist. Call it inside a
   * transaction.
   */
  attachment(namespaceId: string, key: AttachmentKey, hostInterface: string): number;
  /** Records the intent before anything is created. Call it inside a transaction. */
  begin(pluginAttachment: NewPluginAttachment): PluginAttachment;
  describe(
    pluginAttachment: PluginAttachment,
    resources: readonly Resource[],
    result: CniResult,
  ): PluginAttachment;
  setState(pluginAttachment: PluginAttachment, state: PluginAttachmentState): void;
  /**
   * Removes the plugin attachment with its leases and host ports, and the attachment with the last of them.
   * If its record was damaged, its leases and host ports stay, and the attachment with them.
   */
  remove(pluginAttachment: PluginAttachment): void;
  /**
   * Returns what a crashed process left half-created or half-removed. While the caller holds the kernel's
   * lock, no other process can be working on it.
   */
  unfinished(namespaceId: string): readonly PluginAttachment[];
  /** Returns what later plugins in the chain created for the same attachment, in their order. */
  after(pluginAttachment: PluginAttachment): readonly Resource[];
  /** Returns the plugin attachments of a container, on any network. */
  of(namespaceId: string, containerId: string): readonly PluginAttachment[];
  /**
   * Returns whether the attachment of a host's link has a plugin attachment of the type that is not being
   * removed, or undefined if there is no such attachment.
   */
  has(namespaceId: string, hostInterface: string, type: string): boolean | undefined;
  /** Returns the plugin attachment of the type, and the id of its host network namespace. */
  numbered(attachment: number, type: string): NumberedAttachment | undefined;
  /** Returns all plugin attachments of a host network namespace, in the order of creation. */
  all(namespaceId: string): readonly PluginAttachment[];
}

export type PluginAttachmentState = 'making' | 'ready' | 'removing';

export interface PluginAttachment {
  readonly attachment: number;
  readonly key: AttachmentKey;
  readonly type: string;
  readonly state: PluginAttachmentState;
  /** Path of the pod's network namespace, as the caller specified it. */
  readonly netns: string;
  /**
   * Id of that namespace. Another one may get the path later. Absent: an earlier version recorded the
   * attachment, or it has nothing in the pod.
   */
  readonly netnsId?: string;
  readonly resources: readonly Resource[];
  readonly result: CniResult;
}

export interface NumberedAttachment {
  readonly part: PluginAttachment;
  readonly namespaceId: string;
}

export type NewPluginAttachment = Omit<PluginAttachment, 'state'>;

interface Row {
  readonly attachment: number;
  readonly network: string;
  readonly container_id: string;
  readonly interface: string;
  readonly type: string;
  readonly state: PluginAttachmentState;
  readonly netns: string;
  readonly netns_id: string;
  readonly resources: string;
  readonly result: string;
}

const resourcesOf = ({ resources }: Row): Resource[] => parseJson(resources) as Resource[];

const partOf = (row: Row): PluginAttachment => ({
  attachment: row.attachment,
  key: { network: row.network, containerId: row.container_id, interface: row.interface },
  type: row.type,
  state: row.state,
  netns: row.netns,
  ...(row.netns_id === '' ? {} : { netnsId: row.netns_id }),
  resources: resourcesOf(row),
  result: parseJson(row.result) as CniResult,
});

export function createPluginAttachmentStore({ db, transaction }: NetworkDatabase): PluginAttachmentStore {
  const columns =
    'attachment, network, container_id, interface, type, part.state, netns, netns_id, resources, result';
  const from = `SELECT ${columns} FROM part JOIN attachment ON number = attachment WHERE realm = ? AND origin = 'plugin'`;
  const selectOne = db.prepare(`${from} AND network = ? AND container_id = ? AND interface = ? AND type = ?`);
  const selectAll = db.prepare(`${from} ORDER BY number, position`);
  const selectOf = db.prepare(`${from} AND container_id = ? ORDER BY number, position`);
  const selectAfter = db.prepare(
    `SELECT ${columns} FROM part JOIN attachment ON number = attachment
     WHERE attachment = ?1 AND position > (SELECT position FROM part WHERE attachment = ?1 AND type = ?2) ORDER BY position`,
  );
  const selectChain = db.prepare(
    `${from} AND network = ? AND container_id = ? AND interface = ? ORDER BY position`,
  );
  // Every act runs this query. It uses the index of the few that are not ready, and never scans all
  // attachments of the host network namespace.
  const selectUnfinished = db.prepare(
    `SELECT ${columns} FROM part INDEXED BY part_unfinished CROSS JOIN attachment ON number = attachment
     WHERE part.state <> 'ready' AND realm = ? AND origin = 'plugin' ORDER BY number DESC, position DESC`,
  );
  const selectNumbered = db.prepare(
    `SELECT ${columns}, realm FROM part JOIN attachment ON number = attachment WHERE attachment = ? AND type = ?`,
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
    `INSERT INTO part (attachment, type, position, state, netns, netns_id, resources, result)
     VALUES (?1, ?2, (SELECT coalesce(max(position), 0) + 1 FROM part WHERE attachment = ?1), 'making', ?3, ?4, ?5, ?6)`,
  );
  const updatePart = db.prepare(
    'UPDATE part SET resources = ?, result = ? WHERE attachment = ? AND type = ?',
  );
  const updateState = db.prepare('UPDATE part SET state = ? WHERE attachment = ? AND type = ?');
  const remove = createPartRemoval({ db, transaction });

  return {
    part(namespaceId, key, type) {
      const row = selectOne.get(namespaceId, key.network, key.containerId, key.interface, type) as
        | Row
        | undefined;
      return row === undefined ? undefined : partOf(row);
    },
    chain: (namespaceId, key) =>
      (selectChain.all(namespaceId, key.network, key.containerId, key.interface) as unknown as Row[]).map(
        partOf,
      ),
    attachment(namespaceId, { network, containerId, interface: name }, hostInterface) {
      const { changes, lastInsertRowid } = insertAttachment.run(
        namespaceId,
        network,
        containerId,
        name,
        hostInterface,
      );
      if (changes === 1) return Number(lastInsertRowid);
      return (selectNumber.get(namespaceId, network, containerId, name) as { number: number }).number;
    },
    begin(pluginAttachment) {
      insertPart.run(
        pluginAttachment.attachment,
        pluginAttachment.type,
        pluginAttachment.netns,
        pluginAttachment.netnsId ?? '',
        JSON.stringify(pluginAttachment.resources),
        JSON.stringify(pluginAttachment.result),
      );
      return { ...pluginAttachment, state: 'making' };
    },
    describe(pluginAttachment, resources, result) {
      updatePart.run(
        JSON.stringify(resources),
        JSON.stringify(result),
        pluginAttachment.attachment,
        pluginAttachment.type,
      );
      return { ...pluginAttachment, resources, result };
    },
    setState: (pluginAttachment, state) =>
      void updateState.run(state, pluginAttachment.attachment, pluginAttachment.type),
    remove,
    unfinished: (namespaceId) => (selectUnfinished.all(namespaceId) as unknown as Row[]).map(partOf),
    after: (pluginAttachment) =>
      (selectAfter.all(pluginAttachment.attachment, pluginAttachment.type) as unknown as Row[]).flatMap(
        resourcesOf,
      ),
    of: (namespaceId, containerId) =>
      (selectOf.all(namespaceId, containerId) as unknown as Row[]).map(partOf),
    has(namespaceId, hostInterface, type) {
      const row = selectHas.get(namespaceId, hostInterface, type) as { has: number } | undefined;
      return row === undefined ? undefined : row.has === 1;
    },
    numbered(attachment, type) {
      const row = selectNumbered.get(attachment, type) as (Row & { readonly realm: string }) | undefined;
      return row === undefined ? undefined : { part: partOf(row), namespaceId: row.realm };
    },
    all: (namespaceId) => (selectAll.all(namespaceId) as unknown as Row[]).map(partOf),
  };
}
