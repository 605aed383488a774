import { failure } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import type { EtcdClient } from '../../cni-plugins/index.ts';
import type { NodeGroup } from '../document/read.ts';
import { canonical, fingerprintOf } from '../model/fingerprint.ts';
import { agentKey } from './claim.ts';
import { groupStatus } from './decide.ts';
import type { GroupStatus } from './decide.ts';
import {
  groupsPrefix,
  nodePrefix,
  placePrefix,
  readSpec,
  revisionKey,
  revisionPrefix,
  specKey,
  unknownGroup,
  writeRecord,
} from './records.ts';
import type { GroupSpec } from './records.ts';
import { createGroupViews } from './view.ts';
import type { KnownGroup } from './view.ts';

/** A group as the commands show it. An unreadable group has neither a revision nor nodes. */
export interface ListedGroup extends Omit<GroupStatus, 'state'> {
  readonly group: string;
  /** `unreadable`: etcd has a specification that is damaged, or that another version wrote. */
  readonly state: GroupStatus['state'] | 'unreadable';
  readonly revision: string;
  readonly generation: number;
  readonly attempt: number;
  readonly stable?: string;
}

interface Known extends KnownGroup {
  readonly spec: GroupSpec;
}

/** Lists all groups, or the group of that name. @throws OVERLAY_ETCD_… · NODE_GROUP_UNKNOWN */
export async function listGroups(client: EtcdClient, group?: string): Promise<readonly ListedGroup[]> {
  const all = await readAll(client, group === undefined ? groupsPrefix : `${groupsPrefix}${group}/`);
  // Records without a specification are those of a group that was removed.
  const found = [...all].filter(([, { specRevision }]) => specRevision > 0);
  if (group !== undefined && found.length === 0) throw unknownGroup(group);
  return found.map(([name, one]): ListedGroup => {
    const known = withSpec(one);
    if (known === undefined)
      return { group: name, revision: '', generation: 0, attempt: 0, state: 'unreadable', nodes: [] };
    const { revision, generation, attempt, stable } = known.spec;
    return {
      group: name,
      revision,
      generation,
      attempt,
      ...(stable !== undefined && { stable }),
      ...groupStatus(known),
    };
  });
}

/**
 * Requests another state from the nodes of a group. This replaces a running rollout.
 * @returns the new specification; the former one if nothing is different and etcd has the state
 * @throws OVERLAY_ETCD_… · NODE_GROUP_CHANGED when another command was faster
 */
export async function applyGroup(client: EtcdClient, wanted: NodeGroup): Promise<GroupSpec> {
  const { name, selector, rollout, state } = wanted;
  const revision = fingerprintOf(state);
  const found = (await readAll(client, `${groupsPrefix}${name}/`)).get(name);
  const known = found && withSpec(found);
  const before = known?.spec;
  if (
    before?.revision === revision &&
    canonical([before.selector, before.rollout]) === canonical([selector, rollout])
  ) {
    if (await hasState(client, name, revision)) return before;
    // The nodes that could not read the state have failed, and try it again at another attempt.
    const again = { ...before, attempt: before.attempt + 1 };
    await write(client, name, found, again, Buffer.from(JSON.stringify(state)));
    return again;
  }
  const stable = known === undefined ? undefined : stableOf(known);
  const spec: GroupSpec = {
    revision,
    generation: before === undefined ? unusedGeneration(found) : before.generation + 1,
    attempt: 1,
    ...(stable !== undefined && { stable }),
    selector,
    rollout,
  };
  await write(client, name, found, spec, Buffer.from(JSON.stringify(state)));
  await dropRevisions(client, name);
  return spec;
}

/**
 * Returns the generation of a group without a specification that can be read: the first one that no node has
 * recorded. What nodes recorded about a former one says nothing about this one.
 */
function unusedGeneration(found: KnownGroup | undefined): number {
  const used = new Set([...(found?.nodes.values() ?? [])].map(({ generation }) => generation));
  let generation = 1;
  while (used.has(generation)) generation += 1;
  return generation;
}

/**
 * Continues a halted rollout: what failed is tried again.
 * @throws OVERLAY_ETCD_… · NODE_GROUP_UNKNOWN · NODE_GROUP_INVALID · NODE_GROUP_CHANGED
 */
export async function resumeGroup(client: EtcdClient, group: string): Promise<GroupSpec> {
  const known = await requireGroup(client, group);
  const spec = { ...known.spec, attempt: known.spec.attempt + 1 };
  await write(client, group, known, spec);
  return spec;
}

/**
 * Asks the nodes for the last revision that all of them had.
 * @throws OVERLAY_ETCD_… · NODE_GROUP_UNKNOWN · NODE_GROUP_INVALID · NODE_GROUP_CHANGED
 */
export async function rollBackGroup(client: EtcdClient, group: string): Promise<GroupSpec> {
  const known = await requireGroup(client, group);
  const { stable, revision, generation } = known.spec;
  if (stable === undefined || stable === revision)
    throw failure(
      'NODE_GROUP_UNKNOWN',
      'precondition',
      'restore the former state of the group',
      group,
      'there is no earlier revision that all of its nodes had',
      'apply the document that the nodes should have',
    );
  const spec = { ...known.spec, revision: stable, generation: generation + 1, attempt: 1 };
  await write(client, group, known, spec);
  return spec;
}

/**
 * Forgets a group. Its nodes keep their state.
 * @throws OVERLAY_ETCD_… · NODE_GROUP_UNKNOWN · NODE_GROUP_INVALID
 */
export async function removeGroup(client: EtcdClient, group: string): Promise<void> {
  await requireGroup(client, group);
  const range = (prefix: string) => ({
    deleteRange: { key: prefix, rangeEnd: `${prefix.slice(0, -1)}0` },
  });
  await client.transact([], [range(`${groupsPrefix}${group}/`), range(revisionPrefix(group))]);
}

/**
 * Removes a node that no longer exists from a group: its record, its place, and its name in the selector. A
 * node that comes back makes itself known again.
 * @throws OVERLAY_ETCD_… · NODE_GROUP_UNKNOWN for the group, or for a node that is not in it ·
 * NODE_GROUP_INVALID · NODE_NAME_TAKEN while an agent of that name runs · NODE_GROUP_CHANGED
 */
export async function forgetNode(client: EtcdClient, group: string, node: string): Promise<GroupSpec> {
  const known = await requireGroup(client, group);
  const { spec, nodes, places } = known;
  const { names } = spec.selector;
  const isNamed = names?.includes(node) ?? false;
  if (!isNamed && !nodes.has(node) && !places.has(node))
    throw failure(
      'NODE_GROUP_UNKNOWN',
      'not-found',
      `find in the group ${group} the node`,
      node,
      'the group does not name it, and it has not made itself known',
      'see `portcullis node group status`',
    );
  // Its agent would make it known again, and a node that changes would change without a place.
  if ((await client.get(agentKey(node))) !== undefined)
    throw failure(
      'NODE_NAME_TAKEN',
      'precondition',
      'remove from its group the node',
      node,
      'its agent runs, or ended less than the duration of its lease ago',
      'stop `portcullis node serve` on the node, wait until its lease has ended, and try again',
    );
  const next = isNamed
    ? { ...spec, selector: { ...spec.selector, names: names?.filter((name) => name !== node) ?? [] } }
    : spec;
  const removed = await client.transact(
    [
      { result: 0, target: 2, key: specKey(group), modRevision: known.specRevision },
      { result: 0, target: 2, key: agentKey(node), modRevision: 0 },
    ],
    [
      { put: { key: specKey(group), value: writeRecord(next) } },
      { deleteRange: { key: `${nodePrefix(group)}${node}` } },
      { deleteRange: { key: `${placePrefix(group)}${node}` } },
    ],
  );
  if (removed) return next;
  // The answer to our own transaction may have been lost, and the client repeated it.
  const now = await requireGroup(client, group);
  if (!(now.nodes.has(node) || now.places.has(node)) && canonical(now.spec) === canonical(next)) return next;
  throw changed(group);
}

/** Whether etcd has the state of a revision, undamaged. */
async function hasState(client: EtcdClient, group: string, revision: string): Promise<boolean> {
  const pair = await client.get(revisionKey(group, revision));
  if (pair === undefined) return false;
  try {
    return fingerprintOf(parseJson(pair.value.toString())) === revision;
  } catch {
    return false;
  }
}

/** The revision that all nodes have: the current one if its rollout is complete, else the one from before. */
const stableOf = (known: Known): string | undefined =>
  groupStatus(known).state === 'complete' ? known.spec.revision : known.spec.stable;

/** A group without a readable specification can be applied again, and nothing else. */
async function readAll(client: EtcdClient, prefix: string): Promise<ReadonlyMap<string, KnownGroup>> {
  const views = createGroupViews();
  const { pairs, revision } = await client.list(prefix);
  views.replace(pairs, revision);
  return views.groups();
}

const withSpec = (known: KnownGroup): Known | undefined =>
  known.spec === undefined ? undefined : { ...known, spec: known.spec };

async function requireGroup(client: EtcdClient, group: string): Promise<Known> {
  const found = (await readAll(client, `${groupsPrefix}${group}/`)).get(group);
  if (found === undefined || found.specRevision === 0) throw unknownGroup(group);
  const known = withSpec(found);
  if (known === undefined)
    throw failure(
      'NODE_GROUP_INVALID',
      'invalid',
      'read the specification of the group',
      group,
      'it is damaged, or another version wrote it',
      'apply the group again',
    );
  return known;
}

async function write(
  client: EtcdClient,
  group: string,
  known: KnownGroup | undefined,
  spec: GroupSpec,
  state?: Buffer,
): Promise<void> {
  const key = specKey(group);
  const written = await client.transact(
    [{ result: 0, target: 2, key, modRevision: known?.specRevision ?? 0 }],
    [
      ...(state === undefined ? [] : [{ put: { key: revisionKey(group, spec.revision), value: state } }]),
      { put: { key, value: writeRecord(spec) } },
    ],
  );
  if (written) return;
  // The answer to our own transaction may have been lost, and the client repeated it.
  const now = (await readAll(client, `${groupsPrefix}${group}/`)).get(group)?.spec;
  if (now !== undefined && canonical(now) === canonical(spec)) return;
  throw changed(group);
}

const changed = (group: string) =>
  failure(
    'NODE_GROUP_CHANGED',
    'precondition',
    'change the group',
    group,
    'another command changed it at the same time',
    'see `portcullis node group status`, and try again',
  );

/**
 * Removes the states that neither a rollout nor a rollback can request any longer, according to the current
 * specification: another command may have changed it since.
 */
async function dropRevisions(client: EtcdClient, group: string): Promise<void> {
  const key = specKey(group);
  const { pairs } = await client.list(revisionPrefix(group), { keysOnly: true });
  const now = await client.get(key);
  const spec = now && readSpec(now.value);
  if (now === undefined || spec === undefined) return;
  const kept = new Set([spec.revision, spec.stable ?? ''].map((revision) => revisionKey(group, revision)));
  const old = pairs.filter((pair) => !kept.has(pair.key));
  if (old.length > 0)
    await client.transact(
      [{ result: 0, target: 2, key, modRevision: now.modRevision }],
      old.slice(0, mostDropped).map((pair) => ({ deleteRange: { key: pair.key } })),
    );
}

/** etcd accepts 128 operations in a transaction. The next change removes the rest. */
const mostDropped = 100;
