import { isDeepStrictEqual } from 'node:util';
import type { Table, CountedRule, Request } from '../../../base/netlink/index.ts';
import type { ConstantRules } from '../../constant-rules/constant-rules.ts';
import type { LinkRules } from '../../types.ts';
import { grantsOf } from '../rules/grants.ts';
import { createEvaluator, indexPolicies, mostGrantsOf, selecting } from '../kubernetes/evaluate.ts';
import type { IndexedPolicies, PolicyPod } from '../kubernetes/evaluate.ts';
import { createPeerGroups, localPeers } from '../kubernetes/peer-groups.ts';
import type { PeerSource } from '../kubernetes/peer-groups.ts';
import type { Labels, PolicySet } from '../kubernetes/network-policy.ts';
import type { PodDescriptions, PolicyChange } from '../kubernetes/policies.ts';
import { changeImage, makeImage, ruleCounts } from './image.ts';
import type { Image, ImageLink } from './image.ts';
import type { Direction, Layer, PodRules } from '../rules/pod-chains.ts';

/**
 * Tracks the open pods, their rules, and what the kernel was given of both. Returns requests, which the
 * caller sends.
 */
export interface Enforcer {
  /**
   * Opens the link with these rules, or replaces its rules. @throws NETWORK_BAD_RULE, and nothing is changed
   */
  open(pod: OpenPod): Request[];
  /**
   * Closes the link. An unknown id returns no requests, except those that the kernel did not accept before.
   */
  close(id: string): Request[];
  /**
   * Remembers the rules that are in force now. Call the returned function when the kernel refused a change:
   * these rules then count as in force again, and the next change replaces them.
   */
  keep(): () => void;
  /** Recreates the tables for these pods, whatever the kernel holds. */
  restart(pods: readonly OpenPod[]): Request[];
  /**
   * Takes what changed: policies, descriptions of pods, members of groups. Returns no requests if nothing in
   * the kernel changes.
   */
  follow(change: PolicyChange): Request[];
  /** Stops following groups of peers that no rule has used for a while. */
  tidy(): void;
  /**
   * Reports that the kernel accepted the last requests. Without this call the next requests recreate
   * everything.
   */
  settled(): void;
  /** Returns whether a NetworkPolicy restricts the pod in either direction. */
  isolates(pod: Omit<OpenPod, 'id' | 'links'>): boolean;
  /** Returns the rules of an open pod; undefined when the link is not open. */
  rulesOf(id: string): PodRules | undefined;
  /** Returns the tables that must exist now, with the number of rules in their chains. */
  tables(): readonly (readonly [table: Table, rules: ConstantRules])[];
  /** @param rules rules of the judgement's table, as the kernel lists them */
  counts(rules: readonly CountedRule[]): readonly DenialCount[];
}

/** A pod with a link whose class lets packets through. */
export interface OpenPod {
  readonly id: string;
  /** The UID of the pod in Kubernetes. */
  readonly uid?: string;
  readonly namespace: string;
  readonly labels: Labels;
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

export interface DenialCount {
  readonly id: string;
  readonly direction: Direction;
  readonly rule: string;
  readonly packets: bigint;
  readonly bytes: bigint;
}

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
    const described = pod.uid === undefined ? undefined : known.get(pod.uid);
    return {
      namespace: pod.namespace,
      labels: described?.labels ?? pod.labels,
      addresses,
      namedPorts: described?.namedPorts ?? pod.rules.namedPorts ?? [],
    };
  };
  const addressesOf = ({ links }: OpenPod): string[] => links.flatMap(({ addresses }) => addresses);
  const tell = (pod: OpenPod): void => source.putPod(pod.id, policyPod(pod, addressesOf(pod)), pod.uid);
  const replaceOpen = (pods: ReadonlyMap<string, OpenPod>): void => {
    for (const id of open.keys()) if (!pods.has(id)) source.putPod(id, undefined);
    for (const [id, pod] of pods) if (open.get(id) !== pod) tell(pod);
    open = pods;
  };

  /** @param isStale whether the pod is evaluated although it is open as before */
  const advance = (
    pods: ReadonlyMap<string, OpenPod>,
    isStale: (pod: OpenPod) => boolean,
    anew = false,
  ): Request[] => {
    const [before, now] = [neighboursOf(open), neighboursOf(pods)];
    const next = new Map<string, ImageLink>();
    const linksBefore = Map.groupBy(image.values(), ({ id }) => id);
    for (const pod of pods.values()) {
      const [most, mostBefore] = [now, before].map((count) => mostGrantsOf(count.get(pod.namespace) ?? 1));
      const isSame = open.get(pod.id) === pod && most === mostBefore && !isStale(pod);
      const links = isSame
        ? (linksBefore.get(pod.id) ?? [])
        : imageLinks(
            pod,
            evaluator.rulesOf(policies, policyPod(pod, addressesOf(pod)), now.get(pod.namespace) ?? 1),
          );
      for (const made of links) {
        const stood = image.get(made.hostInterface);
        // The same object for an unchanged link, which is how changes are detected.
        next.set(made.hostInterface, stood !== undefined && isDeepStrictEqual(stood, made) ? stood : made);
      }
    }
    replaceOpen(pods);
    const isWhole = anew || unsettled;
    // Members are taken once: when something fails from here on, only a new image has them.
    unsettled = true;
    const changes = groups.take();
    const requests = isWhole ? makeImage(next) : changeImage(image, next, changes);
    image = next;
    unsettled = isWhole || requests.length > 0;
    return requests;
  };
  const none = (): boolean => false;

  return {
    open: (pod) => advance(new Map([...open, [pod.id, pod]]), none),
    close(id) {
      if (!open.has(id) && !unsettled) return [];
      return advance(new Map([...open].filter(([other]) => other !== id)), none);
    },
    keep() {
      const kept = [open, image] as const;
      return () => {
        replaceOpen(kept[0]);
        image = kept[1];
        unsettled = true;
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
        for (const pod of open.values())
          if (known.get(pod.uid ?? '') !== described.get(pod.uid ?? '')) tell(pod);
      }
      return advance(
        open,
        (pod) => isOther(pod.namespace) || known.get(pod.uid ?? '') !== described.get(pod.uid ?? ''),
      );
    },
    tidy() {
      const used = new Set<string>();
      for (const { rules } of image.values())
        for (const layer of [rules.policies.egress, rules.policies.ingress])
          for (const { group } of layer?.grants ?? []) if (group !== undefined) used.add(group.key);
      if (groups.retain(used)) evaluator.forgetGroups();
    },
    restart: (pods) => advance(new Map(pods.map((pod) => [pod.id, pod])), none, true),
    settled() {
      unsettled = false;
    },
    isolates(pod) {
      if (policies.isolated !== undefined) return true;
      return selecting(policies, policyPod(pod, [])).some(
        ({ egress, ingress }) => egress !== undefined || ingress !== undefined,
      );
    },
    rulesOf: (id) => [...image.values()].find((link) => link.id === id)?.rules,
    tables: () => ruleCounts(image),
    counts: (rules) => countsOf(image, rules),
  };
}

/**
 * Adds the last descriptions of open pods that the API has no more: a pod that was deleted by force still
 * runs, and policies for labels that it got after its start still hold.
 */
function withLast(now: PodDescriptions, before: PodDescriptions, open: Iterable<OpenPod>): PodDescriptions {
  const gone = [...open].flatMap(({ uid = '' }) => {
    const last = now.has(uid) ? undefined : before.get(uid);
    return last === undefined ? [] : [[uid, last] as const];
  });
  return gone.length === 0 ? now : new Map([...now, ...gone]);
}

/** Returns the number of pods of each namespace. */
function neighboursOf(pods: ReadonlyMap<string, OpenPod>): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const { namespace } of pods.values()) counts.set(namespace, (counts.get(namespace) ?? 0) + 1);
  return counts;
}

/** Returns whether policies that may select pods of a namespace differ. */
function differenceOf(before: IndexedPolicies, now: IndexedPolicies): (namespace: string) => boolean {
  if (before === now) return () => false;
  const differ = (namespace: string | undefined): boolean => {
    const [some, others] = [before, now].map(({ byNamespace }) => byNamespace.get(namespace) ?? []);
    return some?.length !== others?.length || some?.some((policy, at) => policy !== others?.[at]) === true;
  };
  const all = before.isolated !== now.isolated || differ(undefined);
  return (namespace) => all || differ(namespace);
}

function imageLinks(
  { id, links, rules: { egress, ingress } }: OpenPod,
  policies: PodRules['policies'],
): ImageLink[] {
  const rules: PodRules = {
    profile: {
      ...(egress !== undefined && { egress: { grants: grantsOf(egress), denies: 'network.egress' } }),
      ...(ingress !== undefined && { ingress: { grants: grantsOf(ingress), denies: 'network.ingress' } }),
    },
    policies,
  };
  return links.map((link) => ({ ...link, id, rules }));
}

const layers: readonly (keyof PodRules)[] = ['profile', 'policies'];

function countsOf(image: Image, rules: readonly CountedRule[]): DenialCount[] {
  const known = new Map<string, { id: string; direction: Direction; layer: Layer }>();
  for (const { id, hostInterface, rules: held } of image.values())
    for (const name of layers)
      for (const direction of ['egress', 'ingress'] as const) {
        const layer = held[name][direction];
        if (layer === undefined) continue;
        known.set(`${hostInterface}_${direction}_${name}`, { id, direction, layer });
        if (name === 'profile' && direction === 'egress')
          known.set(`${hostInterface}_egress_untracked`, { id, direction, layer });
      }
  return rules.flatMap(({ chain, packets, bytes }) => {
    const found = known.get(chain);
    if (found === undefined || packets === undefined || bytes === undefined || packets === 0n) return [];
    return [{ id: found.id, direction: found.direction, rule: found.layer.denies, packets, bytes }];
  });
}
