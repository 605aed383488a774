import { fieldsOf, listOf, textOf } from '../../../base/kubernetes/index.ts';
import { validate } from '../../../base/schema/index.ts';
import { blockOf } from './blocks.ts';
import type {
  ClusterNetworkPolicy,
  ClusterPort,
  ClusterRule,
  ClusterSubject,
} from './cluster-network-policy.ts';
import type { Peer, Selector } from './network-policy.ts';
import { selectorOf } from './policy-spec.ts';
import type { WrittenSelector } from './policy-spec.ts';
import { selectorSchema } from './schema.ts';

/**
 * Reads ClusterNetworkPolicies as the API sends them (v1alpha2 and v1beta1,
 * sigs.k8s.io/network-policy-api). Pure.
 *
 * Parts that cannot be understood fail closed, as the API demands: a rule that accepts matches nothing, and
 * one that denies or passes denies everything. A subject that cannot be understood is every pod, and a tier
 * is Admin; then nothing is accepted, and what would be passed on is denied, because the policy may be for
 * other pods, or come in another place.
 */

/** Limits of the API for each list: rules, peers, protocols, blocks and domain names. */
const mostEntries = 25;
const mostPriority = 1000;
const longestName = 253;

export interface ReadClusterPolicy {
  readonly policy: ClusterNetworkPolicy;
  /** Absent: everything is in force as it is written. */
  readonly problem?: string;
}

/** @returns undefined for an object without a name */
export function readClusterPolicy(object: unknown): ReadClusterPolicy | undefined {
  const name = textOf(fieldsOf(fieldsOf(object)['metadata'])['name']);
  if (name === '' || name.length > longestName) return undefined;
  const { tier, priority, subject, ingress, egress, ...others } = fieldsOf(fieldsOf(object)['spec']);
  const problems: string[] = [];
  const report = (at: string, why: string): void => void problems.push(`${at}: ${why}`);
  const isPriority =
    Number.isInteger(priority) && (priority as number) >= 0 && (priority as number) <= mostPriority;
  if (tier !== 'Admin' && tier !== 'Baseline') report('spec.tier', 'it is neither Admin nor Baseline');
  if (!isPriority) report('spec.priority', `it is not a number from 0 to ${mostPriority}`);
  const [unknown] = Object.keys(others);
  if (unknown !== undefined)
    report(
      `spec.${unknown.slice(0, 60)}`,
      'the field is not known, so no rule of the policy can be understood',
    );
  const selected = subjectOf(subject, report);
  const isPlaced = problems.length === 0;
  const read = (value: unknown, direction: 'ingress' | 'egress'): readonly ClusterRule[] => {
    const rules = rulesOf(value, direction, report);
    if (unknown !== undefined) return rules.flatMap(closed);
    return isPlaced ? rules : rules.flatMap(denying);
  };
  const policy = {
    name,
    tier: tier === 'Baseline' ? ('baseline' as const) : ('admin' as const),
    // A policy without a valid priority comes last, where it overrides nothing.
    priority: isPriority ? (priority as number) : mostPriority,
    subject: selected,
    ingress: read(ingress, 'ingress'),
    egress: read(egress, 'egress'),
  };
  const [first] = problems;
  if (first === undefined) return { policy };
  const more = problems.length === 1 ? '' : `, and ${problems.length - 1} more`;
  const problem = `ClusterNetworkPolicy ${name}: ${first}${more}`;
  return { policy: { ...policy, unreadable: problem }, problem };
}

type Report = (at: string, why: string) => void;

/** The only field that a union of the API has; undefined when it has none or several. */
function onlyField(value: unknown): readonly [name: string, value: unknown] | undefined {
  const entries = Object.entries(fieldsOf(value)).filter(([, one]) => one !== undefined && one !== null);
  return entries.length === 1 ? entries[0] : undefined;
}

function readSelector(value: unknown): Selector | undefined {
  const document = { value, file: '', positionOf: () => ({ file: '', line: 1, column: 1 }) };
  if (validate(document, selectorSchema).length > 0) return undefined;
  const refused: string[] = [];
  const selector = selectorOf(value as WrittenSelector, [], (_path, why) => void refused.push(why));
  return refused.length === 0 ? selector : undefined;
}

/** Reads `namespaces` or `pods`, which subjects and peers have. */
function readPods([name, value]: readonly [string, unknown]): ClusterSubject | undefined {
  if (name === 'namespaces') {
    const namespaces = readSelector(value);
    return namespaces && { namespaces };
  }
  if (name !== 'pods') return undefined;
  const { namespaceSelector = {}, podSelector, ...rest } = fieldsOf(value);
  const [namespaces, pods] = [readSelector(namespaceSelector), readSelector(podSelector)];
  if (namespaces === undefined || pods === undefined || Object.keys(rest).length > 0) return undefined;
  return { namespaces, pods };
}

function subjectOf(value: unknown, report: Report): ClusterSubject {
  const field = onlyField(value);
  const subject = field && readPods(field);
  if (subject !== undefined) return subject;
  report('spec.subject', 'it is not understood, so every pod counts as selected');
  return { namespaces: [] };
}

function rulesOf(value: unknown, direction: 'ingress' | 'egress', report: Report): ClusterRule[] {
  if (value === undefined || value === null) return [];
  const rules = listOf(value);
  if (Array.isArray(value) && rules.length <= mostEntries)
    return rules.flatMap((rule, index) => ruleOf(rule, direction, index, report));
  report(`spec.${direction}`, `it is not a list of at most ${mostEntries} rules, so everything is denied`);
  return [{ action: 'deny', name: `${direction} that is not understood` }];
}

const actions: Readonly<Record<string, ClusterRule['action']>> = {
  Accept: 'accept',
  Deny: 'deny',
  Pass: 'pass',
};
const knownFields = ['name', 'action', 'protocols'];

function ruleOf(
  value: unknown,
  direction: 'ingress' | 'egress',
  index: number,
  report: Report,
): ClusterRule[] {
  const side = direction === 'ingress' ? 'from' : 'to';
  const rule = fieldsOf(value);
  const at = `spec.${direction}[${index}]`;
  const written = textOf(rule['name']).slice(0, 100);
  const name = written === '' ? `${direction} rule ${index + 1}` : written;
  const action = actions[textOf(rule['action'])];
  const refused: string[] = [];
  const refuse = (why: string): void => void refused.push(why);
  if (action === undefined) refuse('its action is not Accept, Deny or Pass');
  const unknown = Object.keys(rule).find((key) => key !== side && !knownFields.includes(key));
  if (unknown !== undefined) refuse(`it has the field ${unknown.slice(0, 60)}, which is not known`);
  const peers = peersOf(rule[side], direction, action, refuse);
  const ports = rule['protocols'] === undefined ? undefined : portsOf(rule['protocols'], refuse);
  const namesPorts = ports?.some((port) => 'named' in port) === true;
  if (namesPorts && peers?.some((peer) => 'cidr' in peer || 'nodes' in peer) === true)
    refuse('it uses a named port for nodes or networks, which have no named ports');
  const [why] = refused;
  if (why === undefined && action !== undefined)
    return [{ action, name, ...(peers !== undefined && { peers }), ...(ports !== undefined && { ports }) }];
  report(at, `${why ?? ''}, so ${action === 'accept' ? 'it accepts nothing' : 'everything is denied'}`);
  return closed({ action: action ?? 'deny', name });
}

/** Returns the rule that applies in place of a rule that cannot be understood. */
const closed = ({ action, name }: ClusterRule): ClusterRule[] =>
  action === 'accept' ? [] : [{ action: 'deny', name: `${name} (not understood)` }];

/** Returns the rule that applies if the policy may be for other pods, or come in another place. */
const denying = (rule: ClusterRule): ClusterRule[] =>
  rule.action === 'accept' ? [] : [{ ...rule, action: 'deny' }];

function peersOf(
  value: unknown,
  direction: 'ingress' | 'egress',
  action: ClusterRule['action'] | undefined,
  refuse: (why: string) => void,
): readonly Peer[] | undefined {
  const peers = listOf(value);
  if (peers.length === 0 || peers.length > mostEntries) {
    refuse(`it does not have 1 to ${mostEntries} peers`);
    return undefined;
  }
  return peers.flatMap((peer): readonly Peer[] => {
    const field = onlyField(peer);
    const pods = field && readPods(field);
    if (pods !== undefined) return [pods];
    const [name, written] = field ?? [];
    if (direction === 'egress' && name === 'nodes') {
      const nodes = readSelector(written);
      if (nodes !== undefined) return [{ nodes }];
    }
    if (direction === 'egress' && name === 'networks') {
      const blocks = listOf(written).map((one) => blockOf(textOf(one)));
      if (blocks.length > 0 && blocks.length <= mostEntries && blocks.every((block) => block !== undefined))
        return blocks.map(({ text }) => ({ cidr: text, except: [] }));
    }
    if (direction === 'egress' && name === 'domainNames' && action === 'accept') {
      refuse('it has domain names, which are not supported');
      return [];
    }
    refuse('it has a peer that is not understood');
    return [];
  });
}

function portsOf(value: unknown, refuse: (why: string) => void): readonly ClusterPort[] {
  const protocols = listOf(value);
  if (protocols.length === 0 || protocols.length > mostEntries) {
    refuse(`it does not have 1 to ${mostEntries} protocols`);
    return [];
  }
  return protocols.flatMap((one): readonly ClusterPort[] => {
    const port = portOf(onlyField(one));
    if (port === undefined) refuse('it has a protocol that is not understood');
    return port === undefined ? [] : [port];
  });
}

const protocolNames = { tcp: 'tcp', udp: 'udp', sctp: 'sctp' } as const;

function portOf(field: readonly [string, unknown] | undefined): ClusterPort | undefined {
  const [name, value] = field ?? [];
  if (name === 'destinationNamedPort') return textOf(value) === '' ? undefined : { named: textOf(value) };
  if (name !== 'tcp' && name !== 'udp' && name !== 'sctp') return undefined;
  const protocol = protocolNames[name];
  const [inner, port] = onlyField(value) ?? [];
  if (inner === undefined && Object.keys(fieldsOf(value)).length === 0) return { protocol };
  if (inner !== 'destinationPort') return undefined;
  const [form, written] = onlyField(port) ?? [];
  const { start, end } = fieldsOf(written);
  const range = form === 'range' ? [start, end] : form === 'number' ? [written, written] : [];
  const [low, high] = range;
  return isPort(low) && isPort(high) && low <= high ? { protocol, port: { low, high } } : undefined;
}

const isPort = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65_535;
