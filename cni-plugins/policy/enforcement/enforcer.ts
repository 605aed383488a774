import { isDeepStrictEqual } from 'node:util';
import type { Table, CountedRule, Request } from '../../../base/netlink/index.ts';
import type { ConstantRules } from '../../constant-rules/constant-rules.ts';
import type { LinkRules } from '../../types.ts';
import { grantsOf } from '../rules/grants.ts';
import { evaluate } from '../kubernetes/evaluate.ts';
import type { Labels, PolicySet } from '../kubernetes/network-policy.ts';
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
  /** Replaces the NetworkPolicies. */
  setPolicies(set: PolicySet): Request[];
  /**
   * Reports that the kernel accepted the last requests. Without this call the next requests recreate
   * everything.
   */
  settled(): void;
  /** Returns whether a NetworkPolicy restricts the pod in either direction. */
  isolates(pod: Pick<OpenPod, 'namespace' | 'labels' | 'rules'>): boolean;
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

export function createEnforcer(): Enforcer {
  let open: ReadonlyMap<string, OpenPod> = new Map();
  let image: Image = new Map();
  let policies: PolicySet = { policies: [], namespaces: new Map() };
  let unsettled = false;

  const change = (pods: ReadonlyMap<string, OpenPod>, anew: boolean): Request[] => {
    const next = imageOf(pods, policies, image);
    const requests = anew || unsettled ? makeImage(next) : changeImage(image, next);
    open = pods;
    image = next;
    unsettled = true;
    return requests;
  };

  return {
    open: (pod) => change(new Map([...open, [pod.id, pod]]), false),
    close(id) {
      if (!open.has(id) && !unsettled) return [];
      return change(new Map([...open].filter(([other]) => other !== id)), false);
    },
    keep() {
      const kept = [open, image] as const;
      return () => {
        [open, image] = kept;
        unsettled = true;
      };
    },
    setPolicies(set) {
      policies = set;
      return change(open, false);
    },
    restart: (pods) => change(new Map(pods.map((pod) => [pod.id, pod])), true),
    settled() {
      unsettled = false;
    },
    isolates({ namespace, labels, rules }) {
      const [held] = evaluate(policies, [
        { namespace, labels, addresses: [], namedPorts: rules.namedPorts ?? [] },
      ]);
      return held?.egress !== undefined || held?.ingress !== undefined;
    },
    rulesOf: (id) => [...image.values()].find((link) => link.id === id)?.rules,
    tables: () => ruleCounts(image),
    counts: (rules) => countsOf(image, rules),
  };
}

/** Returns the same object for an unchanged pod, which is how changes are detected. */
function imageOf(pods: ReadonlyMap<string, OpenPod>, policies: PolicySet, before: Image): Image {
  const all = [...pods.values()];
  const held =
    policies.policies.length === 0 && policies.isolated === undefined
      ? undefined
      : evaluate(
          policies,
          all.map(({ namespace, labels, links, rules }) => ({
            namespace,
            labels,
            addresses: links.flatMap(({ addresses }) => addresses),
            namedPorts: rules.namedPorts ?? [],
          })),
        );
  return new Map(
    all
      .flatMap((pod, index) => imageLinks(pod, held?.[index] ?? {}))
      .map((made) => {
        const stood = before.get(made.hostInterface);
        return [made.hostInterface, stood !== undefined && isDeepStrictEqual(stood, made) ? stood : made];
      }),
  );
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
