import type { AttachmentRecord } from '../../database/record.ts';
import { contains, formatIp, parseIp, parsePrefix } from '../../../base/addresses/index.ts';
import type { ExplainedStep, LinkRule, LinkState } from '../../types.ts';
import type { Grant } from '../rules/grants.ts';
import { memberOf } from '../rules/peer-group.ts';
import type { Direction, Layer, PodRules, Tier } from '../rules/pod-chains.ts';
import { allowanceOf } from './allowance.ts';
import type { Seen } from './allowance.ts';

export interface JudgedEnd {
  readonly record: AttachmentRecord;
  /** Absent when our rules do not know the links. */
  readonly state?: LinkState;
  readonly rules: PodRules;
  /**
   * Returns the grants of the kernel's chain of the layer; undefined when there is no such chain, or it is
   * not one of ours.
   */
  readonly inKernel: (layer: ComparedLayer) => readonly LinkRule[] | undefined;
}

/** Layers whose rules are read back from the kernel. */
export type ComparedLayer = 'policies' | 'profile';

/**
 * Judges one end. Returns its steps in the order in which packets meet them. Where the kernel's tables and
 * the records differ, the tables count. Pure.
 */
export function judgeEnd(
  end: JudgedEnd,
  seen: Seen,
): { readonly steps: ExplainedStep[]; readonly problems: string[] } {
  const { record, state } = end;
  const pod = nameOf(record);
  const { direction } = seen;
  if (state === undefined) {
    const why = `plugins created its links on ${record.spec.network}, and the rules do not include these links: neither class nor rules apply to them`;
    return { steps: [{ pod, direction, rule: 'class', says: 'nothing', why }], problems: [] };
  }
  const problems = [...state.problems];
  const classStep = ofClass(record, state, direction);
  // A closed link has no rules in the kernel. Other denials are reported once it is open.
  const others =
    classStep.says === 'denies'
      ? []
      : [...ofPolicies(end, seen, problems), ofLayer(end, seen, 'profile', problems)];
  return { steps: [classStep, ...others], problems: problems.map((problem) => `${pod}: ${problem}`) };
}

export const nameOf = ({ spec }: AttachmentRecord): string => `${spec.pod.namespace}/${spec.pod.name}`;

function ofClass(record: AttachmentRecord, { lets }: LinkState, direction: Direction): ExplainedStep {
  const step = {
    pod: nameOf(record),
    direction,
    rule: `network.${record.class === 'deny' ? 'none' : record.class}`,
  };
  if (lets === 'unknown')
    return { ...step, says: 'unknown', why: 'the kernel tables that enforce its class were changed' };
  if (lets === 'own packets') return { ...step, says: 'allows', why: 'its class allows its own packets' };
  if (record.class === 'deny')
    return {
      ...step,
      says: 'denies',
      why: 'no container of the pod has been started, and its link is closed until then',
      allow: 'start a container of the pod',
    };
  if (record.class === 'none')
    return {
      ...step,
      says: 'denies',
      why: 'the profiles of its containers have the class network.none',
      allow:
        "give a container a profile with network.user (annotation portcullis.dev/profile), within the ceiling of the image's rule",
    };
  return {
    ...step,
    says: 'denies',
    why: `its class is ${step.rule}, but the kernel's tables deny all packets`,
    allow: 'portcullis network gc',
  };
}

/** Returns the steps of policies: of the tiers that are evaluated, in their order. */
function ofPolicies(end: JudgedEnd, seen: Seen, problems: string[]): ExplainedStep[] {
  const { direction, peerIsHost } = seen;
  const [admin, baseline] = [end.rules.admin?.[direction], end.rules.baseline?.[direction]];
  // Rules of ingress name pods that are not in the network of a node.
  const isExempt = peerIsHost && direction === 'ingress';
  const steps: ExplainedStep[] = [];
  if (admin !== undefined && !isExempt) {
    const step = ofTier(end, seen, 'Admin', admin);
    steps.push(step);
    if (step.says !== 'nothing') return steps;
  }
  const hasPolicies = end.rules.policies[direction] !== undefined;
  if (hasPolicies || baseline === undefined || isExempt)
    return [...steps, ofLayer(end, seen, 'policies', problems)];
  return [...steps, ofTier(end, seen, 'Baseline', baseline)];
}

function ofTier({ record }: JudgedEnd, seen: Seen, name: string, { steps, unreadable }: Tier): ExplainedStep {
  const { direction } = seen;
  const found = steps.find((step) => grants(step, seen));
  const rule = found?.name ?? `ClusterNetworkPolicies of the tier ${name}`;
  const step = { pod: nameOf(record), direction, rule };
  const others = unreadable === undefined ? '' : `; not in force as written: ${unreadable.join(' · ')}`;
  if (found === undefined || found.action === 'pass')
    return {
      ...step,
      says: 'nothing',
      why: `${found === undefined ? 'no rule of the tier matches it' : 'the rule passes it on'}, and the next tier decides${others}`,
    };
  if (found.action === 'accept') return { ...step, says: 'allows', why: `the tier ${name} accepts it` };
  return {
    ...step,
    says: 'denies',
    why: `the tier ${name} denies it${others}`,
    allow: 'a rule that accepts it in a ClusterNetworkPolicy of this tier with a lower priority',
  };
}

const words = {
  profile: {
    rules: 'the peer rules of its profiles',
    unrestricted: 'no profile of its containers restricts',
  },
  policies: { rules: 'NetworkPolicies', unrestricted: 'no NetworkPolicy selects it for' },
} as const;

function ofLayer(end: JudgedEnd, seen: Seen, layer: ComparedLayer, problems: string[]): ExplainedStep {
  const { direction } = seen;
  const found: Layer | undefined = end.rules[layer][direction];
  const kernel = end.inKernel(layer);
  const step = {
    pod: nameOf(end.record),
    direction,
    rule: found?.denies ?? (layer === 'profile' ? `network.${direction}` : 'NetworkPolicy'),
  };
  if (found === undefined && kernel === undefined)
    return { ...step, says: 'nothing', why: `${words[layer].unrestricted} ${direction}` };
  if (layer === 'policies' && seen.peerIsHost)
    return { ...step, says: 'nothing', why: 'NetworkPolicies do not apply between a pod and its own node' };
  const grant = found?.grants.find((each) => grants(each, seen));
  const passes = kernel === undefined ? grant !== undefined : kernel.some((rule) => lets(rule, seen));
  if (kernel === undefined || passes !== (grant !== undefined))
    problems.push(
      `the kernel's rules of ${direction} differ from ${words[layer].rules}; portcullis network gc recreates them`,
    );
  if (passes)
    return {
      ...step,
      says: 'allows',
      why: `${words[layer].rules} grant it`,
      ...(grant !== undefined && grant.name !== '' && { by: grant.name }),
    };
  const unreadable =
    found?.unreadable === undefined ? '' : `; the pod is isolated: ${found.unreadable.join(' · ')}`;
  return {
    ...step,
    says: 'denies',
    why: `nothing in ${words[layer].rules} grants it${unreadable}`,
    allow: allowanceOf(layer, end.record, seen),
  };
}

function grants({ protocol, ports, peers, group }: Grant, seen: Seen): boolean {
  if (protocol !== undefined && protocol !== seen.protocol) return false;
  if (ports !== undefined && !ports.some(({ low, high }) => low <= seen.port && seen.port <= high))
    return false;
  const member = memberOf(formatIp(seen.peer), group?.withPorts === true ? seen.port : undefined);
  if (group?.members.has(member) === true) return true;
  if (peers === undefined) return group === undefined;
  return (seen.peer.family === 4 ? peers.four : peers.six).some(
    ({ low, high }) => low <= seen.peer.value && seen.peer.value <= high,
  );
}

function lets({ cidr, protocol, ports }: LinkRule, { peer, protocol: spoken, port }: Seen): boolean {
  const block = parsePrefix(cidr) ?? single(cidr);
  return (
    protocol === spoken &&
    ports.low <= port &&
    port <= ports.high &&
    block?.address.family === peer.family &&
    contains(block, peer)
  );
}

function single(text: string): ReturnType<typeof parsePrefix> {
  const address = parseIp(text);
  return address === undefined ? undefined : { address, length: address.family === 4 ? 32 : 128 };
}
