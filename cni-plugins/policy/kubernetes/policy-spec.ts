import type { PathSegment } from '../../../base/schema/index.ts';
import { blockOf } from './blocks.ts';
import type {
  Labels,
  NetworkPolicy,
  Peer,
  PolicyPort,
  PolicyRule,
  Requirement,
  Selector,
} from './network-policy.ts';

/**
 * Converts a NetworkPolicy of valid shape (schema.ts) to its meaning. Reports what the API refuses beyond the
 * shape. Pure.
 */

export type Path = readonly PathSegment[];
export type Report = (path: Path, message: string, fix: string) => void;

export interface WrittenSelector {
  readonly matchLabels?: Labels;
  readonly matchExpressions?: readonly {
    readonly key: string;
    readonly operator: Requirement['operator'];
    readonly values?: readonly string[];
  }[];
}

interface WrittenPeer {
  readonly podSelector?: WrittenSelector;
  readonly namespaceSelector?: WrittenSelector;
  readonly ipBlock?: { readonly cidr: string; readonly except?: readonly string[] };
}

interface WrittenRule {
  readonly from?: readonly WrittenPeer[];
  readonly to?: readonly WrittenPeer[];
  readonly ports?: readonly {
    readonly protocol?: 'TCP' | 'UDP' | 'SCTP';
    readonly port?: number | string;
    readonly endPort?: number;
  }[];
}

export interface WrittenPolicy {
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly spec: {
    readonly podSelector?: WrittenSelector;
    readonly policyTypes?: readonly ('Ingress' | 'Egress')[];
    readonly ingress?: readonly WrittenRule[];
    readonly egress?: readonly WrittenRule[];
  };
}

export function specOf({ metadata, spec }: WrittenPolicy, report: Report): NetworkPolicy {
  const rules = (direction: 'ingress' | 'egress'): PolicyRule[] =>
    (spec[direction] ?? []).map((rule, index) =>
      ruleOf(rule, direction === 'ingress' ? 'from' : 'to', ['spec', direction, index], report),
    );
  const [ingress, egress] = [rules('ingress'), rules('egress')];
  // Rules of a direction that is not among the types have no effect, as in Kubernetes. Without policyTypes a
  // policy always isolates for ingress, and for egress when it has egress rules.
  const given = spec.policyTypes ?? [];
  const types = given.length > 0 ? given : ['Ingress', ...(egress.length > 0 ? ['Egress'] : [])];
  return {
    namespace: metadata.namespace ?? 'default',
    name: metadata.name,
    podSelector: selectorOf(spec.podSelector ?? {}, ['spec', 'podSelector'], report),
    ...(types.includes('Ingress') && { ingress }),
    ...(types.includes('Egress') && { egress }),
  };
}

export function selectorOf(
  { matchLabels = {}, matchExpressions = [] }: WrittenSelector,
  path: Path,
  report: Report,
): Selector {
  matchExpressions.forEach(({ operator, values = [] }, index) => {
    const needs = operator === 'In' || operator === 'NotIn';
    if (needs !== values.length > 0)
      report(
        [...path, 'matchExpressions', index],
        `${operator} must have ${needs ? 'at least one value' : 'no values'}`,
        needs ? 'add values' : 'remove the values',
      );
  });
  return [
    ...Object.entries(matchLabels).map(([key, value]): Requirement => ({
      key,
      operator: 'In',
      values: [value],
    })),
    ...matchExpressions.map(({ key, operator, values = [] }) => ({ key, operator, values })),
  ];
}

function ruleOf(rule: WrittenRule, field: 'from' | 'to', path: Path, report: Report): PolicyRule {
  const written = rule[field] ?? [];
  const peers = written.flatMap((peer, index) => peerOf(peer, [...path, field, index], report) ?? []);
  const ports = (rule.ports ?? []).map((port, index) => portOf(port, [...path, 'ports', index], report));
  return { ...(written.length > 0 && { peers }), ...(ports.length > 0 && { ports }) };
}

function peerOf(
  { podSelector, namespaceSelector, ipBlock }: WrittenPeer,
  path: Path,
  report: Report,
): Peer | undefined {
  if (ipBlock === undefined)
    return {
      ...(podSelector !== undefined && { pods: selectorOf(podSelector, [...path, 'podSelector'], report) }),
      ...(namespaceSelector !== undefined && {
        namespaces: selectorOf(namespaceSelector, [...path, 'namespaceSelector'], report),
      }),
    };
  if (podSelector !== undefined || namespaceSelector !== undefined) {
    report(path, 'a peer must have either an ipBlock or selectors', 'split it into two peers');
    return undefined;
  }
  const { cidr, except = [] } = ipBlock;
  const block = blockOf(cidr);
  if (block === undefined) report([...path, 'ipBlock', 'cidr'], notABlock(cidr), blockForm);
  const holes = except.flatMap((text, index) => {
    const at = [...path, 'ipBlock', 'except', index];
    const hole = blockOf(text);
    if (hole === undefined) report(at, notABlock(text), blockForm);
    else if (block !== undefined && !isWithin(hole, block))
      report(at, `${text} is not within ${cidr}`, 'write a smaller block within the cidr');
    return hole === undefined ? [] : [hole.text];
  });
  return block === undefined ? undefined : { cidr: block.text, except: holes };
}

const notABlock = (text: string): string => `${JSON.stringify(text.slice(0, 60))} is not a block`;
const blockForm = 'write it as 10.0.0.0/8 or 2001:db8::/32';

type Block = NonNullable<ReturnType<typeof blockOf>>;

const isWithin = (inner: Block, outer: Block): boolean =>
  inner.family === outer.family &&
  inner.interval.low >= outer.interval.low &&
  inner.interval.high <= outer.interval.high;

function portOf(
  { protocol = 'TCP', port, endPort }: NonNullable<WrittenRule['ports']>[number],
  path: Path,
  report: Report,
): PolicyPort {
  const spoken = { protocol: protocol.toLowerCase() as PolicyPort['protocol'] };
  if (endPort !== undefined && typeof port !== 'number')
    report([...path, 'endPort'], 'endPort needs a port that is a number', 'add such a port');
  if (port === undefined) return spoken;
  if (typeof port === 'string') {
    // IANA_SVC_NAME, as the API requires.
    if (!/[a-z]/u.test(port) || port.includes('--'))
      report(
        [...path, 'port'],
        `${JSON.stringify(port)} is not a port name`,
        'write a number without quotes',
      );
    return { ...spoken, port };
  }
  if (endPort !== undefined && endPort < port)
    report(
      [...path, 'endPort'],
      `${endPort} is lower than port ${port}`,
      'write an endPort that is not lower',
    );
  return { ...spoken, port: { low: port, high: endPort ?? port } };
}
