import { formatProblems, parseDocuments, validate } from '../../../base/schema/index.ts';
import type { Document, PathSegment, Problem } from '../../../base/schema/index.ts';
import { networkOf, parsePrefix } from '../../spec/address.ts';
import { intervalOf } from '../intervals.ts';
import type { Labels, NetworkPolicy, Peer, PolicyPort, PolicyRule, PolicySet, Requirement, Selector } from './network-policy.ts';
import { namespaceSchema, networkPolicySchema } from './schema.ts';

/** From the text of files to a set of policies, or every problem of all files at once. Pure. */

export interface SourceText {
  readonly file: string;
  readonly text: string;
}

export type Reading = { readonly ok: true; readonly set: PolicySet } | { readonly ok: false; readonly problems: readonly Problem[] };

type Path = readonly PathSegment[];

/** As {@link readPolicies}, every problem as a line of text. */
export function readSet(sources: readonly SourceText[]): { readonly set: PolicySet } | { readonly problems: string } {
  const reading = readPolicies(sources);
  return reading.ok ? { set: reading.set } : { problems: formatProblems(reading.problems) };
}

export function readPolicies(sources: readonly SourceText[]): Reading {
  const problems: Problem[] = [];
  const policies = new Map<string, NetworkPolicy>();
  const namespaces = new Map<string, Labels>();
  for (const { file, text } of sources) {
    const parsed = parseDocuments(text, file);
    problems.push(...parsed.problems);
    for (const document of parsed.documents.flatMap((one) => itemsOf(one, problems))) {
      const { kind } = (document.value ?? {}) as { kind?: unknown };
      const report = reporter(document, problems);
      if (kind === 'Namespace') {
        const found = validate(document, namespaceSchema);
        problems.push(...found);
        if (found.length > 0) continue;
        const { metadata } = document.value as { metadata: { name: string; labels?: Labels } };
        if (namespaces.has(metadata.name)) report(['metadata', 'name'], `the namespace ${metadata.name} is there twice`, 'take one out');
        namespaces.set(metadata.name, metadata.labels ?? {});
      } else if (kind === 'NetworkPolicy') {
        const found = validate(document, networkPolicySchema);
        problems.push(...found);
        if (found.length > 0) continue;
        const policy = policyOf(document.value as WrittenPolicy, report);
        const key = `${policy.namespace}/${policy.name}`;
        if (policies.has(key)) report(['metadata', 'name'], `the NetworkPolicy ${key} is there twice`, 'take one out, or rename it');
        policies.set(key, policy);
      } else report(['kind'], 'only NetworkPolicy, Namespace and List are read here', 'move the object to another folder');
    }
  }
  if (problems.length > 0) return { ok: false, problems };
  return { ok: true, set: { policies: [...policies.values()], namespaces } };
}

/** A List (as kubectl get -o yaml writes it) is its items. */
function itemsOf(document: Document, problems: Problem[]): Document[] {
  const value = document.value as { kind?: unknown; items?: unknown } | null;
  if (typeof value !== 'object' || value === null || !/List$/u.test(String(value.kind))) return [document];
  if (!Array.isArray(value.items)) {
    reporter(document, problems)(['items'], 'a List has a list of items', 'write items: []');
    return [];
  }
  return value.items.map((item: unknown, index) => ({
    value: item,
    file: document.file,
    positionOf: (path, part) => document.positionOf(['items', index, ...path], part),
  }));
}

type Report = (path: Path, message: string, fix: string) => void;

function reporter(document: Document, problems: Problem[]): Report {
  return (path, message, fix) => problems.push({ position: document.positionOf(path), path: path.join('.'), message, fix });
}

interface WrittenSelector {
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
  readonly ports?: readonly { readonly protocol?: 'TCP' | 'UDP' | 'SCTP'; readonly port?: number | string; readonly endPort?: number }[];
}

interface WrittenPolicy {
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly spec: {
    readonly podSelector?: WrittenSelector;
    readonly policyTypes?: readonly ('Ingress' | 'Egress')[];
    readonly ingress?: readonly WrittenRule[];
    readonly egress?: readonly WrittenRule[];
  };
}

function policyOf({ metadata, spec }: WrittenPolicy, report: Report): NetworkPolicy {
  const rules = (direction: 'ingress' | 'egress'): PolicyRule[] =>
    (spec[direction] ?? []).map((rule, index) => ruleOf(rule, direction === 'ingress' ? 'from' : 'to', ['spec', direction, index], report));
  const [ingress, egress] = [rules('ingress'), rules('egress')];
  // Rules of a direction that is not among them hold nothing, as in Kubernetes. Without policyTypes a policy isolates for ingress always, for egress when it has rules of it.
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

function selectorOf({ matchLabels = {}, matchExpressions = [] }: WrittenSelector, path: Path, report: Report): Selector {
  matchExpressions.forEach(({ operator, values = [] }, index) => {
    const needs = operator === 'In' || operator === 'NotIn';
    if (needs !== values.length > 0)
      report(
        [...path, 'matchExpressions', index],
        `${operator} takes ${needs ? 'at least one value' : 'no values'}`,
        needs ? 'give values' : 'take values out',
      );
  });
  return [
    ...Object.entries(matchLabels).map(([key, value]): Requirement => ({ key, operator: 'In', values: [value] })),
    ...matchExpressions.map(({ key, operator, values = [] }) => ({ key, operator, values })),
  ];
}

function ruleOf(rule: WrittenRule, field: 'from' | 'to', path: Path, report: Report): PolicyRule {
  const written = rule[field] ?? [];
  const peers = written.flatMap((peer, index) => peerOf(peer, [...path, field, index], report) ?? []);
  const ports = (rule.ports ?? []).map((port, index) => portOf(port, [...path, 'ports', index], report));
  return { ...(written.length > 0 && { peers }), ...(ports.length > 0 && { ports }) };
}

function peerOf({ podSelector, namespaceSelector, ipBlock }: WrittenPeer, path: Path, report: Report): Peer | undefined {
  if (ipBlock === undefined)
    return {
      ...(podSelector !== undefined && { pods: selectorOf(podSelector, [...path, 'podSelector'], report) }),
      ...(namespaceSelector !== undefined && { namespaces: selectorOf(namespaceSelector, [...path, 'namespaceSelector'], report) }),
    };
  if (podSelector !== undefined || namespaceSelector !== undefined) {
    report(path, 'a peer is either an ipBlock or selectors', 'make them two peers');
    return undefined;
  }
  const { cidr, except = [] } = ipBlock;
  const block = blockAt(cidr, [...path, 'ipBlock', 'cidr'], report);
  except.forEach((text, index) => {
    const at = [...path, 'ipBlock', 'except', index];
    const hole = blockAt(text, at, report);
    if (block === undefined || hole === undefined) return;
    if (hole.family !== block.family || hole.interval.low < block.interval.low || hole.interval.high > block.interval.high)
      report(at, `${text} is not within ${cidr}`, 'write a smaller block within the cidr');
  });
  return { cidr, except };
}

function blockAt(text: string, path: Path, report: Report): ReturnType<typeof intervalOf> {
  const prefix = parsePrefix(text);
  if (prefix === undefined) report(path, `${JSON.stringify(text)} is not a block`, 'write it as 10.0.0.0/8 or 2001:db8::/32');
  else if (networkOf(prefix).value !== prefix.address.value)
    report(path, `${text} has bits set beyond its first ${prefix.length}`, 'set them to zero');
  return intervalOf(text);
}

function portOf({ protocol = 'TCP', port, endPort }: NonNullable<WrittenRule['ports']>[number], path: Path, report: Report): PolicyPort {
  const spoken = { protocol: protocol.toLowerCase() as PolicyPort['protocol'] };
  if (endPort !== undefined && typeof port !== 'number') report([...path, 'endPort'], 'endPort needs a port that is a number', 'give one');
  if (port === undefined) return spoken;
  if (typeof port === 'string') {
    if (!/[a-z]/u.test(port)) report([...path, 'port'], `${JSON.stringify(port)} is no name of a port`, 'write a number without quotes');
    return { ...spoken, port };
  }
  if (endPort !== undefined && endPort < port)
    report([...path, 'endPort'], `${endPort} is lower than port ${port}`, 'write the higher one');
  return { ...spoken, port: { low: port, high: endPort ?? port } };
}
