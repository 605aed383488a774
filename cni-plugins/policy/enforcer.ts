import { isDeepStrictEqual } from 'node:util';
import type { CountedRule, Table } from '../netlink/nftables.ts';
import type { Request } from '../netlink/socket.ts';
import type { ConstantRules } from '../plugins/interface/constant-rules.ts';
import type { LinkRules } from '../types.ts';
import { grantsOf } from './grants.ts';
import { evaluate } from './kubernetes/evaluate.ts';
import type { Labels, PolicySet } from './kubernetes/network-policy.ts';
import { changeImage, makeImage, ruleCounts } from './image.ts';
import type { Image, ImageLink } from './image.ts';
import type { Direction, Layer, PodRules } from './pod-chains.ts';

/** Which pods are open, what holds them, and what the kernel was told of it. Speaks in requests: whoever asks sends them. */
export interface Enforcer {
  /** The link is opened with these rules, or has others from now on. @throws NETWORK_BAD_RULE, and nothing is changed */
  open(pod: OpenPod): Request[];
  /** Unknown: nothing, but for what the kernel did not take before. */
  close(id: string): Request[];
  /** Keeps the rules that are in force now. Call the function that it returns when the kernel refused a change: these rules then count as in force again, and the next change replaces them. */
  keep(): () => void;
  /** The tables anew, for these pods, whatever stood. */
  restart(pods: readonly OpenPod[]): Request[];
  /** Other NetworkPolicies from now on. */
  setPolicies(set: PolicySet): Request[];
  /** Says that the kernel took the last requests. Without it the next ones make everything anew. */
  settled(): void;
  /** Whether a NetworkPolicy restricts the pod in either direction. */
  isolates(pod: Pick<OpenPod, 'namespace' | 'labels' | 'rules'>): boolean;
  /** What holds an open pod; undefined: the link is not open. */
  rulesOf(id: string): PodRules | undefined;
  /** Tables that must stand now, with how many rules their chains have. */
  tables(): readonly (readonly [table: Table, rules: ConstantRules])[];
  /** @param rules of the judgement's table, as the kernel lists them */
  counts(rules: readonly CountedRule[]): readonly DenialCount[];
}

/** A pod whose link's class lets packets through. */
export interface OpenPod {
  readonly id: string;
  readonly namespace: string;
  readonly labels: Labels;
  /** All that the rules know of the pod's: the same holds for each. */
  readonly links: readonly OpenLink[];
  readonly rules: LinkRules;
}

export interface OpenLink {
  readonly hostInterface: string;
  /** The link-local one included. */
  readonly addresses: readonly string[];
  /** Of the bridge, as the kernel has it now; absent: the host routes to the link. */
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
      const [held] = evaluate(policies, [{ namespace, labels, addresses: [], namedPorts: rules.namedPorts ?? [] }]);
      return held?.egress !== undefined || held?.ingress !== undefined;
    },
    rulesOf: (id) => [...image.values()].find((link) => link.id === id)?.rules,
    tables: () => ruleCounts(image),
    counts: (rules) => countsOf(image, rules),
  };
}

/** The same object for a pod of which nothing changed: that is how a change is seen. */
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

function imageLinks({ id, links, rules: { egress, ingress } }: OpenPod, policies: PodRules['policies']): ImageLink[] {
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
        if (name === 'profile' && direction === 'egress') known.set(`${hostInterface}_egress_untracked`, { id, direction, layer });
      }
  return rules.flatMap(({ chain, packets, bytes }) => {
    const found = known.get(chain);
    if (found === undefined || packets === undefined || bytes === undefined || packets === 0n) return [];
    return [{ id: found.id, direction: found.direction, rule: found.layer.denies, packets, bytes }];
  });
}
