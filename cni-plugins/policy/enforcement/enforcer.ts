import { isDeepStrictEqual } from 'node:util';
import type { CountedRule, Table } from '../../../base/netlink/index.ts';
import type { ConstantRules } from '../../constant-rules/constant-rules.ts';
import type { LinkRules } from '../../types.ts';
import { grantsOf } from '../rules/grants.ts';
import { createEvaluator, indexPolicies, isSelected } from '../kubernetes/evaluate.ts';
import type { IndexedPolicies, PolicyPod } from '../kubernetes/evaluate.ts';
import { mostStepsOf } from '../kubernetes/evaluate-tiers.ts';
import { demandOf } from '../kubernetes/grant-limits.ts';
import { createPeerGroups, localPeers } from '../kubernetes/peer-groups.ts';
import type { PeerSource } from '../kubernetes/peer-groups.ts';
import type { Labels, PolicySet } from '../kubernetes/network-policy.ts';
import { podIdentity } from '../kubernetes/policies.ts';
import type { PodDescriptions, PolicyChange } from '../kubernetes/policies.ts';
import { changeImage, makeImage, ruleCounts } from './image.ts';
import type { Image, ImageLink, RuleRequests } from './image.ts';
import type { PeerGroup } from '../rules/peer-group.ts';
import { groupsOfRules } from '../rules/pod-chains.ts';
import type { PodRules } from '../rules/pod-chains.ts';
import { countsOf } from './rule-counts.ts';
import { createStalePods } from './stale-pods.ts';
import type { SharedLimits, StalePods } from './stale-pods.ts';
import type { DenialCount } from './rule-counts.ts';

export type { DenialCount, RuleRequests };

/**
 * Tracks the open pods, their rules, and which of both the kernel was given. Returns requests, which the
 * caller sends.
 */
export interface Enforcer {
  /**
   * Opens the link with these rules, or replaces its rules. @throws NETWORK_BAD_RULE, and nothing is changed
   */
  open(pod: OpenPod): RuleRequests;
  /**
   * Closes the link. An unknown id returns no requests, except those that the kernel did not accept before.
   */
  close(id: string): RuleRequests;
  /**
   * Remembers the rules that are in force now. Call the returned function when the kernel refused a change:
   * these rules then count as in force again, and the next change replaces them.
   */
  keep(): () => void;
  /**
   * Recreates the tables for these pods, whatever the kernel holds.
   * @param isInParts if there are many rules, pods with many NetworkPolicies are isolated at first: `follow`
   * gives them their rules. For tables that are missing: until they are recreated, nothing is denied.
   */
  restart(pods: readonly OpenPod[], isInParts?: boolean): RuleRequests;
  /**
   * Takes what changed: policies, descriptions of pods, members of groups. Returns no requests if nothing in
   * the kernel changes. If the rules of many pods change, the requests are for some of the pods, so that the
   * caller can attach pods before it calls again. The others keep their rules until then.
   */
  follow(change: PolicyChange): RuleRequests;
  /** Returns whether pods wait for the next call of `follow`. */
  isBehind(): boolean;
  /**
   * Returns the limits of one pod, for namespaces whose limit is lower because all pods of the node, or for
   * blocks those of the namespace, together would have too many.
   */
  sharedLimits(): SharedLimits;
  /** Stops following groups of peers that no rule has used for a while. */
  tidy(): void;
  /**
   * Reports that the kernel accepted the last requests. Without this call the next requests recreate
   * everything.
   */
  settled(): void;
  /** Returns whether a policy says something about the pod's connections, in either direction. */
  isolates(pod: Omit<OpenPod, 'id' | 'links'>): boolean;
  /** Returns the rules of an open pod; undefined when the link is not open. */
  rulesOf(id: string): PodRules | undefined;
  /** Returns the tables that must exist now, with the number of rules in their chains. */
  tables(): readonly (readonly [table: Table, rules: ConstantRules])[];
  /** @param list lists the rules of chains of the judgement's table, as the kernel has them */
  counts(list: (chains: Iterable<string>) => readonly CountedRule[]): readonly DenialCount[];
}

/** A pod with a link whose class lets packets through. */
export interface OpenPod {
  readonly id: string;
  /** The UID of the pod in Kubernetes. */
  readonly uid?: string;
  readonly namespace: string;
  readonly labels: Labels;
  /** The labels were not given: they are those of the API, once they are known. */
  readonly labelsUnknown?: true;
  /** The pod's links that the rules know. The same rules apply to each. */
  readonly links: readonly OpenLink[];
  readonly rules: LinkRules;
}

export interface OpenLink {
  readonly hostInterface: string;
  /** Includes the link-local address. */
  readonly addresses: readonly string[];
  /** MAC of the bridge, as the kernel has it now. Absent where the host routes to the link. */
  readonly bridgeMac?: string;
}

/** Returns the links of all pods: as they were before, unless they are evaluated. */
function linksOf(
  pods: ReadonlyMap<string, OpenPod>,
  { before, inForce }: { readonly before: Image; readonly inForce: Image },
  isEvaluated: (pod: OpenPod) => boolean,
  rulesFor: (pod: OpenPod) => Omit<PodRules, 'profile'>,
): Map<string, ImageLink> {
  const next = new Map<string, ImageLink>();
  const linksBefore = Map.groupBy(before.values(), ({ id }) => id);
  for (const pod of pods.values()) {
    const links = isEvaluated(pod) ? imageLinks(pod, rulesFor(pod)) : (linksBefore.get(pod.id) ?? []);
    for (const made of links) {
      const former = inForce.get(made.hostInterface);
      // The same object for an unchanged link, which is how changes are detected.
      next.set(made.hostInterface, former !== undefined && isDeepStrictEqual(former, made) ? former : made);
    }
  }
  return next;
}

/**
 * Number of rules and ports of pods that are replaced at once. The kernel takes some 30 µs for each, and
 * calls wait meanwhile.
 */
const mostAtOnce = 4096;

const beingRecreated = 'the rules of the NetworkPolicies are being recreated';

/** @param source absent: peers are the pods of this node */
export function createEnforcer(source: PeerSource = localPeers()): Enforcer {
  let open: ReadonlyMap<string, OpenPod> = new Map();
  let image: Image = new Map();
  let namespaces: PolicySet['namespaces'] = new Map();
  let policies = indexPolicies({ policies: [], namespaces });
  let known: PodDescriptions = new Map();
  let unsettled = false;
  const groups = createPeerGroups(source);
  const evaluator = createEvaluator(groups.groupFor);

  const policyPod = (pod: Omit<OpenPod, 'links' | 'id'>, addresses: readonly string[]): PolicyPod => {
    const described = known.get(identityOf(pod) ?? '');
    return {
      namespace: pod.namespace,
      labels: described?.labels ?? pod.labels,
      ...((described ?? pod).labelsUnknown === true && { labelsUnknown: true as const }),
      addresses,
      namedPorts: described?.namedPorts ?? pod.rules.namedPorts ?? [],
    };
  };
  const putPod = (pod: OpenPod): void =>
    source.putPod(pod.id, policyPod(pod, addressesOf(pod)), identityOf(pod));
  const replaceOpen = (pods: ReadonlyMap<string, OpenPod>): void => {
    for (const id of open.keys()) if (!pods.has(id)) source.putPod(id, undefined);
    for (const [id, pod] of pods) if (open.get(id) !== pod) putPod(pod);
    open = pods;
  };

  const stale = createStalePods<OpenPod>(
    (pod) => demandOf(policies, policyPod(pod, addressesOf(pod))),
    (id) => sizeOf(rulesIn(image, id)),
  );

  /** @param most stale pods are evaluated until they have this many rules, before and after */
  const advance = (pods: ReadonlyMap<string, OpenPod>, most: number, isFull = false): RuleRequests => {
    stale.replaceOpen(open, pods);
    if (policies.tiers !== undefined && mostStepsOf(open.size) !== mostStepsOf(pods.size))
      pods.forEach(stale.mark);
    const [former, isWhole] = [open, isFull || unsettled];
    let spent = 0;
    const isDue = (pod: OpenPod): boolean => {
      const held = former.get(pod.id) !== pod || spent < most ? stale.held(pod.id) : undefined;
      spent += isFull ? 0 : (held ?? 0);
      return held !== undefined;
    };
    const evaluate = (pod: OpenPod): Omit<PodRules, 'profile'> => {
      // Pods are in the order of what their policies ask for: those without policies wait for no other pod.
      const awaited = isFull && spent >= most && stale.askedBy(pod) > 0 ? beingRecreated : undefined;
      if (awaited === undefined) stale.evaluated(pod.id);
      const seen = policyPod(pod, addressesOf(pod));
      const made = {
        policies: evaluator.rulesOf(policies, seen, { ...stale.limitsOf(pod), awaited }),
        ...evaluator.tiersOf(policies, seen, pods.size),
      };
      spent += sizeOf(made);
      return made;
    };
    let next = linksOf(pods, { before: image, inForce: image }, isDue, evaluate);
    replaceOpen(pods);
    // Members are taken once: when something fails from here on, only a new image has them.
    unsettled = true;
    const { changes, turned } = groups.take();
    if (turned.size > 0) {
      const lacking = markTurned(next, turned, (id) => pods.get(id), stale);
      const isDueNow = (pod: OpenPod): boolean => lacking.has(pod.id) || isDue(pod);
      next = linksOf(pods, { before: next, inForce: image }, isDueNow, evaluate);
    }
    const made = isWhole ? makeImage(next) : changeImage(image, next, changes);
    image = next;
    stale.applied();
    unsettled = isWhole || made.requests.length > 0;
    return made;
  };

  return {
    open: (pod) => advance(new Map([...open, [pod.id, pod]]), 0),
    close(id) {
      if (!open.has(id) && !unsettled) return { preparation: [], requests: [], cleanup: [] };
      return advance(new Map([...open].filter(([other]) => other !== id)), 0);
    },
    keep() {
      const kept = [open, image] as const;
      return () => {
        replaceOpen(kept[0]);
        image = kept[1];
        unsettled = true;
        open.forEach(stale.mark);
      };
    },
    follow({ set, pods }) {
      const former = policies;
      if (set !== undefined) policies = indexPolicies(set);
      if (set !== undefined && set.namespaces !== namespaces) {
        ({ namespaces } = set);
        source.putNamespaces(namespaces);
      }
      const isOther = differenceOf(former, policies);
      const described = known;
      if (pods !== undefined) {
        known = withLast(pods, described, open.values());
        for (const pod of open.values()) if (isDescribedOtherwise(pod, known, described)) putPod(pod);
      }
      for (const pod of open.values())
        if (isOther(pod.namespace) || isDescribedOtherwise(pod, known, described)) stale.mark(pod);
      return advance(open, mostAtOnce);
    },
    isBehind: () => !stale.areNone(),
    sharedLimits: stale.sharedLimits,
    tidy() {
      if (groups.retain(keysOfGroups(image))) evaluator.forgetGroups();
    },
    restart: (pods, isInParts = false) =>
      advance(inOrder(pods, stale.askedBy), isInParts ? mostAtOnce : Infinity, true),
    settled: () => void (unsettled = false),
    isolates: (pod) => isSelected(policies, policyPod(pod, [])),
    rulesOf: (id) => rulesIn(image, id),
    tables: () => ruleCounts(image),
    counts: (list) => countsOf(image, list),
  };
}

const addressesOf = ({ links }: OpenPod): string[] => links.flatMap(({ addresses }) => addresses);

const rulesIn = (image: Image, id: string): PodRules | undefined =>
  [...image.values()].find((link) => link.id === id)?.rules;

/** Returns the pods by what their policies ask for. */
function inOrder(pods: readonly OpenPod[], askedBy: (pod: OpenPod) => number): Map<string, OpenPod> {
  const asked = pods.map((pod) => [pod, askedBy(pod)] as const).sort((a, b) => a[1] - b[1]);
  return new Map(asked.map(([pod]) => [pod.id, pod]));
}

const identityOf = ({ namespace, uid }: Pick<OpenPod, 'namespace' | 'uid'>): string | undefined =>
  uid === undefined ? undefined : podIdentity({ namespace, uid });

const isDescribedOtherwise = (pod: OpenPod, now: PodDescriptions, before: PodDescriptions): boolean => {
  const identity = identityOf(pod) ?? '';
  return now.get(identity) !== before.get(identity);
};

/**
 * Adds the last descriptions of open pods that the API no longer has: a pod that was deleted by force still
 * runs, and policies for labels that it got after its start still hold.
 */
function withLast(now: PodDescriptions, before: PodDescriptions, open: Iterable<OpenPod>): PodDescriptions {
  const gone = [...open].flatMap((pod) => {
    const identity = identityOf(pod) ?? '';
    const last = now.has(identity) ? undefined : before.get(identity);
    return last === undefined ? [] : [[identity, last] as const];
  });
  return gone.length === 0 ? now : new Map([...now, ...gone]);
}

/** Returns whether policies that may select pods of a namespace differ. */
function differenceOf(before: IndexedPolicies, now: IndexedPolicies): (namespace: string) => boolean {
  if (before === now) return () => false;
  const differ = (namespace: string | undefined): boolean => {
    const [some, others] = [before, now].map(({ byNamespace }) => byNamespace.get(namespace) ?? []);
    return some?.length !== others?.length || some?.some((policy, at) => policy !== others?.[at]) === true;
  };
  const [tiers, tiersBefore] = [now, before].map(({ tiers: both }) => [
    ...(both?.admin ?? []),
    ...(both?.baseline ?? []),
  ]);
  const all =
    before.isolated !== now.isolated ||
    differ(undefined) ||
    tiers?.length !== tiersBefore?.length ||
    tiers?.some((policy, at) => policy !== tiersBefore?.[at]) === true;
  return (namespace) =>
    all ||
    differ(namespace) ||
    (now.tiers !== undefined && before.labelsOf(namespace) !== now.labelsOf(namespace));
}

/** The kernel takes some 10 µs for a block of addresses. */
const blocksOfRule = 4;

/** Returns the number of rules and ports of policies, with their blocks. */
function sizeOf({ policies, admin, baseline }: Partial<PodRules> = {}): number {
  let size = 0;
  for (const direction of ['egress', 'ingress'] as const) {
    const grants = policies?.[direction]?.grants ?? [];
    size += grants.length;
    // Rules with several ports share their peers.
    for (const { four, six } of new Set(grants.flatMap(({ peers }) => peers ?? [])))
      size += (four.length + six.length) / blocksOfRule;
    for (const tier of [admin, baseline]) size += tier?.[direction]?.steps.length ?? 0;
  }
  return size;
}

/** Returns the keys of the groups that rules use. */
const keysOfGroups = (image: Image): Set<string> =>
  new Set([...image.values()].flatMap(({ rules }) => [...groupsOfRules(rules)].map(({ key }) => key)));

/** Returns the pods whose rules depend on one of the groups. */
function idsWith(image: Image, groups: ReadonlySet<PeerGroup>): Set<string> {
  const ids = new Set<string>();
  for (const { id, rules } of image.values())
    for (const group of groupsOfRules(rules)) if (groups.has(group)) ids.add(id);
  return ids;
}

/**
 * Marks the pods whose rules depend on groups that became complete, or lack members now. Rules that waited
 * for a group deny until the pod is evaluated.
 * @returns pods that must be evaluated at once, because rules of theirs may not deny what they should
 */
function markTurned(
  image: Image,
  turned: ReadonlySet<PeerGroup>,
  podOf: (id: string) => OpenPod | undefined,
  stale: Pick<StalePods<OpenPod>, 'mark'>,
): Set<string> {
  for (const id of idsWith(image, turned)) {
    const pod = podOf(id);
    if (pod !== undefined) stale.mark(pod);
  }
  return idsWith(image, new Set([...turned].filter(({ isComplete }) => !isComplete)));
}

function imageLinks(
  { id, links, rules: { egress, ingress } }: OpenPod,
  ofPolicies: Omit<PodRules, 'profile'>,
): ImageLink[] {
  const rules: PodRules = {
    profile: {
      ...(egress !== undefined && { egress: { grants: grantsOf(egress), denies: 'network.egress' } }),
      ...(ingress !== undefined && { ingress: { grants: grantsOf(ingress), denies: 'network.ingress' } }),
    },
    ...ofPolicies,
  };
  return links.map((link) => ({ ...link, id, rules }));
}
