import { parseJson } from '../../base/json/index.ts';
import type { PluginList } from '../spec/plugin-list.ts';
import type { PodName } from '../spec/pod-name.ts';
import type { CniResult } from '../spec/result.ts';
import type { NetworkDatabase } from './database.ts';
import type { PluginAttachment, PluginAttachmentState } from './plugin-attachments.ts';
import { linkToBeMade } from './record.ts';
import type { AttachmentRecord, AttachmentSpec, AttachmentState, HeldLink } from './record.ts';

/**
 * Pods of other runtimes to which NetworkPolicies apply, in the database: an attachment of the origin
 * `plugin` whose `spec` names the pod, and the link on which the rules are. Older versions ignore the `spec`.
 */
export interface PolicedPodStore {
  /** Names the pod of an attachment. Call it inside the transaction that begins the plugin attachment. */
  begin(part: PluginAttachment, pod: PodName): void;
  /** Records the link on which the rules are. */
  settle(part: PluginAttachment, link: HeldLink): void;
  /** The rules do not apply to the attachment any more. */
  forget(part: PluginAttachment): void;
  /**
   * Returns the record of the pod whose link the plugin attachment created; undefined if no NetworkPolicies
   * apply to it. It is `attaching` until its link is recorded.
   */
  record(part: Pick<PluginAttachment, 'attachment' | 'type'>): AttachmentRecord | undefined;
  records(namespaceId: string): readonly AttachmentRecord[];
  /** Returns whether the container is a pod of our own runtime, whose rules its own record has. */
  isOwnPod(containerId: string): boolean;
}

interface PolicedSpec {
  /** The type of the plugin that creates the link. */
  readonly policed: string;
  readonly pod: PodName;
  readonly link?: HeldLink;
}

interface Row {
  readonly network: string;
  readonly container_id: string;
  readonly interface: string;
  readonly host_interface: string;
  readonly spec: string;
  readonly state: PluginAttachmentState;
  readonly netns: string;
  readonly result: string;
}

/** Returns the operations. Changes nothing. */
export function createPolicedPodStore({ db }: NetworkDatabase): PolicedPodStore {
  // Damaged rows are replaced at the start, except those of other host network namespaces.
  const from = `SELECT network, container_id, interface, host_interface, spec, part.state, netns, result
    FROM attachment JOIN part ON attachment = number
      AND type = iif(json_valid(spec), json_extract(spec, '$.policed'), NULL)
    WHERE origin = 'plugin' AND spec <> '{}'`;
  const selectOne = db.prepare(`${from} AND number = ? AND type = ?`);
  const selectAll = db.prepare(`${from} AND realm = ? ORDER BY number`);
  const selectOwn = db.prepare("SELECT 1 FROM attachment WHERE container_id = ? AND origin = 'pod'");
  const update = db.prepare('UPDATE attachment SET spec = ?2 WHERE number = ?1');
  const put = ({ attachment }: PluginAttachment, spec: PolicedSpec): void =>
    void update.run(attachment, JSON.stringify(spec));

  return {
    begin: (part, pod) => put(part, { policed: part.type, pod }),
    settle(part, link) {
      const row = selectOne.get(part.attachment, part.type) as Row | undefined;
      if (row !== undefined) put(part, { ...(parseJson(row.spec) as PolicedSpec), link });
    },
    forget: ({ attachment }) => void update.run(attachment, '{}'),
    record(part) {
      const row = selectOne.get(part.attachment, part.type) as Row | undefined;
      return row === undefined ? undefined : recordOf(row);
    },
    records: (namespaceId) => (selectAll.all(namespaceId) as unknown as Row[]).map(recordOf),
    isOwnPod: (containerId) => selectOwn.get(containerId) !== undefined,
  };
}

const states: Readonly<Record<PluginAttachmentState, AttachmentState>> = {
  making: 'attaching',
  ready: 'ready',
  removing: 'detaching',
};

function recordOf(row: Row): AttachmentRecord {
  const { policed, pod, link } = parseJson(row.spec) as PolicedSpec;
  const state = states[row.state];
  return {
    id: `${row.container_id}/${row.interface}`,
    state: link === undefined && state === 'ready' ? 'attaching' : state,
    class: link === undefined ? 'deny' : 'user',
    rules: {},
    spec: { ...specOf(row, pod), ...(link === undefined ? toBeMade(row, policed) : onLink(row, link)) },
  };
}

const specOf = (row: Row, pod: PodName): AttachmentSpec => ({
  network: row.network,
  pod,
  netns: row.netns,
  hostInterface: row.host_interface,
  interface: row.interface,
  ...linkToBeMade,
  ofOtherRuntime: true,
});

/** The rules have no link yet, but their tables must exist before the plugin creates it. */
function toBeMade({ network, interface: name }: Row, type: string): Pick<AttachmentSpec, 'chains'> {
  const list: PluginList = {
    name: network,
    cniVersion: '1.1.0',
    disableCheck: false,
    disableGC: false,
    plugins: [{ type, capabilities: [], config: {} }],
  };
  return { chains: [{ network, interface: name, way: 'in-process', list, capabilityArgs: {} }] };
}

function onLink(row: Row, { hostInterface, mac, addresses, bridge }: HeldLink): Partial<AttachmentSpec> {
  const { routes } = parseJson(row.result) as CniResult;
  return {
    hostInterface,
    mac,
    addresses,
    routes: routes.map(({ dst, gw }) => ({ dst, ...(gw !== undefined && { gw }) })),
    ...(bridge === undefined ? { routed: true } : { bridge }),
  };
}
