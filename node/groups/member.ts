import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { followPrefix, holdLease } from '../../cni-plugins/index.ts';
import type { EtcdClient } from '../../cni-plugins/index.ts';
import type { DesiredState } from '../store/node-files.ts';
import { decide, isSelected, reasonToWrite } from './decide.ts';
import type { Decision, OwnView } from './decide.ts';
import { fetchGroupState } from './fetch-state.ts';
import { keepName } from './keep-name.ts';
import type { MemberWrites } from './member-writes.ts';
import { groupsPrefix } from './records.ts';
import type { GroupSpec, NodeRecord } from './records.ts';
import { createGroupViews } from './view.ts';
import type { GroupViews, KnownGroup } from './view.ts';

/** Functions of its node that a member needs. */
export interface MemberNode {
  desired(): DesiredState | undefined;
  /** Since when the desired state is reached, in ms of `performance.now()`. */
  convergedSince(): number | undefined;
  /** Returns the difference from the desired state. */
  problem(): string | undefined;
  /** Why the daemon is not ready; undefined: it is. */
  daemonProblem(): Promise<string | undefined>;
  /** Returns why a state from etcd is not one; undefined: it is. */
  refuses(state: unknown): string | undefined;
  /** Makes a state durable, and begins to reach it. */
  apply(desired: DesiredState): Promise<void>;
}

interface MemberOptions {
  readonly client: EtcdClient;
  readonly name: string;
  /** A value that distinguishes this agent from another one with this name ({@link agentIdentity}). */
  readonly identity: string;
  readonly labels: Readonly<Record<string, string>>;
  /** After this time without a sign, a node that changes is lost. In seconds. */
  readonly leaseSeconds: number;
  readonly node: MemberNode;
  readonly log: Logger;
}

export interface Member {
  /** The progress of the node, as a sentence. */
  status(): string;
  /**
   * Resolves with NODE_NAME_TAKEN if another agent keeps the name for longer than a lease that nobody renews.
   * An agent that once had the name is no longer refused: it reports in its status that it lost the name, and
   * continues to repair its node.
   */
  readonly refused: Promise<PortcullisError>;
  close(): void;
}

const tickMs = 500;

/** The group that selects the node, and the writes of the agent that has the node's name. */
interface Followed {
  readonly writes: MemberWrites;
  readonly group: string;
  readonly spec: GroupSpec;
  readonly known: KnownGroup;
}

/**
 * Takes part in the group that selects this node. While etcd is unreachable, the node keeps and repairs its
 * state without this code.
 */
export function joinGroups(options: MemberOptions): Member {
  const { client, name, labels, leaseSeconds, node, log } = options;
  const views = createGroupViews();
  let isHere = false;
  let closed = false;
  let lease: number | undefined;
  /** The lease to which our place is bound; undefined after a restart. */
  let boundTo: number | undefined;
  let busy = false;
  /** Why the state of the group could not be stored or read at the last attempt. */
  let untaken: string | undefined;
  const { say, status } = createProgress(log);

  const unfollow = followPrefix(client, groupsPrefix, {
    onListing: ({ pairs, revision }) => views.replace(pairs, revision),
    onChanges: (changes) => views.take(changes),
    onHere: () => (isHere = true),
    onAway(thrown) {
      isHere = false;
      say(`etcd cannot be reached, and the node keeps its state: ${reasonOf(thrown)}`);
    },
  });
  const held = holdMemberLease({ client, leaseSeconds, log }, (id) => (lease = id));

  const nameOfNode = keepName(options, say);
  const changingMs = createChangingTime();
  const explain = createExplanations();
  const leaveOthers = createLeaving(log);
  const register = createRegistration(views, say);

  const take = async (writes: MemberWrites, group: string, known: KnownGroup): Promise<void> => {
    if (lease === undefined) return say('it waits for a lease of etcd');
    const id = lease;
    const took = await writes.take(group, known, views.revision(), id);
    if (took) [boundTo, untaken] = [id, undefined];
    say(took ? `it has a place for generation ${known.spec?.generation ?? 0}` : 'another node was faster');
  };

  /** After a restart, or a lease that ended, the place is bound to the lease that we hold now. */
  const bind = async (writes: MemberWrites, group: string, known: KnownGroup): Promise<void> => {
    if (lease === undefined) return;
    const id = lease;
    if (await writes.bind(group, known, id)) boundTo = id;
  };

  const apply = async ({ writes, group, spec, known }: Followed): Promise<void> => {
    try {
      await node.apply(await fetchGroupState(client, group, spec, (state) => node.refuses(state)));
      untaken = undefined;
      say(`it changes to generation ${spec.generation}`);
    } catch (thrown) {
      untaken = reasonOf(thrown);
      if (!isPortcullisError(thrown) || thrown.code !== 'NODE_GROUP_INVALID') throw thrown;
      await writes.leave(group, known, 'failed', thrown.failure.why);
    }
  };

  const act = async (followed: Followed, next: Decision): Promise<void> => {
    const { writes, group, known } = followed;
    switch (next.do) {
      case 'wait':
        return say(next.why);
      case 'register':
        return register(writes, group);
      case 'take':
        return take(writes, group, known);
      case 'apply':
        return apply(followed);
      case 'ready':
        return void (await writes.leave(group, known, 'ready'));
      case 'fail':
        log.error({ group, why: next.why }, 'the node halts the rollout of its group');
        return void (await writes.leave(group, known, 'failed', next.why));
    }
  };

  const step = async (): Promise<void> => {
    if (lease === undefined) return say('it waits for a lease of etcd');
    const ours = await nameOfNode.writes(lease);
    if (ours === undefined) return;
    const groups = [...views.groups()];
    const selecting = groups.filter(
      ([, { spec }]) => spec !== undefined && isSelected(spec.selector, { name, labels }),
    );
    const followed = selecting.length === 1 ? selecting[0] : undefined;
    const whyNot = whyNone(selecting.map(([group]) => group));
    if (await leaveOthers(ours, { name, groups, selecting, followed: followed?.[0], whyNot })) return;
    if (followed === undefined) return say(whyNot);
    const [group, live] = followed;
    // A copy: a decision about one specification must not be written as an answer to a later one.
    const known = { ...live };
    const { spec, nodes, places } = known;
    if (spec === undefined) return;
    if (places.has(name) && boundTo !== lease) return bind(ours, group, known);
    const own = await ownViewOf(node, { name, labels, untaken }, spec, known, changingMs);
    await explain({ writes: ours, group, spec, known }, own);
    await act({ writes: ours, group, spec, known }, decide({ spec, nodes, places }, own));
  };

  const timer = setInterval(() => {
    if (closed || busy || !isHere) return;
    busy = true;
    step()
      .catch((thrown: unknown) => say(`etcd or the disk refuses: ${reasonOf(thrown)}`))
      .finally(() => (busy = false));
  }, tickMs);

  return {
    status,
    refused: nameOfNode.refused,
    close() {
      closed = true;
      clearInterval(timer);
      held.close();
      unfollow();
      client.close();
    },
  };
}

/** Keeps the last sentence about the progress, and logs each new one. */
function createProgress(log: MemberOptions['log']): {
  readonly say: (text: string) => void;
  readonly status: () => string;
} {
  let progress = 'it has not reached etcd yet';
  return {
    say(text) {
      if (text !== progress) log.info({ text }, 'the group');
      progress = text;
    },
    status: () => progress,
  };
}

/**
 * Returns a function that makes the node known. All nodes of the group read each write, so the record is not
 * written again before the view has it: a slow etcd would get slower with each write. A new listing has it,
 * or shows that it is gone, whatever revisions a restored cluster counts.
 */
function createRegistration(
  views: GroupViews,
  say: (text: string) => void,
): (writes: MemberWrites, group: string) => Promise<void> {
  let last = { listing: 0, revision: 0 };
  return async (writes, group) => {
    const listing = views.listings();
    if (last.listing === listing && views.revision() < last.revision)
      return say('it waits until etcd reports its record');
    await writes.register(group, (revision) => (last = { listing, revision }));
  };
}

type NamedGroup = readonly [group: string, known: KnownGroup];

interface Others {
  readonly name: string;
  readonly groups: readonly NamedGroup[];
  readonly selecting: readonly NamedGroup[];
  readonly followed: string | undefined;
  /** Why the node does not follow the groups that select it. */
  readonly whyNot: string;
}

/**
 * Gives back a place in a group that the node does not follow: the others would wait for as long as this
 * process runs. Also removes its record from a group that no longer selects it: with its former labels, the
 * group would count it as one of its nodes.
 * @returns whether there was such a group
 */
async function tryToLeave(
  writes: MemberWrites,
  { name, groups, selecting, followed, whyNot }: Others,
): Promise<boolean> {
  const kept = selecting.find(([group, { places }]) => places.has(name) && group !== followed);
  const left = groups.find(
    (one) =>
      !selecting.includes(one) &&
      (one[1].places.has(name) || (one[1].spec !== undefined && one[1].nodes.has(name))),
  );
  if (kept !== undefined) await writes.leave(...kept, 'failed', whyNot);
  else if (left !== undefined) await writes.drop(left[0]);
  return (kept ?? left) !== undefined;
}

/** Like {@link tryToLeave}. A refusal is logged: the rights of a node may not include its former group. */
function createLeaving(log: Logger): typeof tryToLeave {
  let logged = '';
  return (writes, others) =>
    tryToLeave(writes, others).catch((thrown: unknown) => {
      const why = reasonOf(thrown);
      if (why !== logged) log.warn({ why }, 'the node cannot leave a group that it does not follow');
      logged = why;
      return false;
    });
}

const whyNone = (selecting: readonly string[]): string =>
  selecting.length === 0
    ? 'no group selects this node'
    : `${selecting.join(' and ')} select this node, so it follows none of them`;

/** Holds the lease of this member, and logs trouble with it. @param onLease called with each new lease */
function holdMemberLease(
  { client, leaseSeconds, log }: Pick<MemberOptions, 'client' | 'leaseSeconds' | 'log'>,
  onLease: (id: number) => void,
): ReturnType<typeof holdLease> {
  let trouble = '';
  return holdLease({
    client,
    seconds: leaseSeconds,
    register: (id) => {
      onLease(id);
      return Promise.resolve();
    },
    onHeld: () => (trouble = ''),
    onTrouble(thrown) {
      const why = reasonOf(thrown);
      // It is tried several times a second.
      if (trouble === '') log.warn({ why }, 'the lease could not be kept');
      trouble = why;
    },
  });
}

/**
 * Returns a function that returns for how long a record has said that its node changes, in ms. The clock is
 * read once for each record, because an operator or a time server may set it while the node changes.
 */
function createChangingTime(): (record: NodeRecord) => number {
  let at: string | undefined;
  let since = 0;
  return (record) => {
    if (record.at !== at) {
      const passed = Date.now() - Date.parse(record.at);
      [at, since] = [record.at, performance.now() - (passed > 0 ? passed : 0)];
    }
    return performance.now() - since;
  };
}

/** Returns a function that writes why the node has not finished its change, if that lasts. */
function createExplanations(): (followed: Followed, own: OwnView) => Promise<void> {
  let at: number | undefined;
  return async ({ writes, group, spec, known }, own) => {
    const view = { spec, nodes: known.nodes, places: known.places };
    const why = reasonToWrite(view, own, at && performance.now() - at);
    if (why !== undefined && (await writes.explain(group, known, why))) at = performance.now();
  };
}

async function ownViewOf(
  node: MemberNode,
  { name, labels, untaken }: Pick<OwnView, 'labels' | 'name'> & { readonly untaken: string | undefined },
  spec: GroupSpec,
  { nodes, changedAt }: KnownGroup,
  changingMs: (record: NodeRecord) => number,
): Promise<OwnView> {
  const record = nodes.get(name);
  const isChanging = record?.phase === 'changing';
  const asksDaemon = isChanging && spec.rollout.gate.daemonReady;
  const daemonProblem = asksDaemon ? await node.daemonProblem() : undefined;
  const [since, problem, desired] = [node.convergedSince(), node.problem(), node.desired()];
  return {
    name,
    labels,
    ...(desired !== undefined && {
      revision: desired.revision,
      isForced: desired.source.kind === 'file',
    }),
    ...(since !== undefined && { healthyMs: performance.now() - since }),
    ...(daemonProblem !== undefined && { daemonProblem }),
    ...(problem !== undefined && { problem }),
    ...(untaken !== undefined && { untaken }),
    changingMs: isChanging ? changingMs(record) : 0,
    quietMs: performance.now() - changedAt,
  };
}
