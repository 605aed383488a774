import { PortcullisError } from '../../../base/errors/index.ts';
import type { HostKernel } from '../../links/host-kernel.ts';
import { heldLinks, isHeld } from '../../database/record.ts';
import type { AttachmentRecord } from '../../database/record.ts';
import { formatIp, parseIp } from '../../../base/addresses/index.ts';
import type { IpAddress, IpFamily } from '../../../base/addresses/index.ts';
import type {
  AskedConnection,
  Denial,
  DenialExplanation,
  DenialQuestion,
  ExplainedStep,
  LinkRule,
} from '../../types.ts';
import type { Enforcer } from '../enforcement/enforcer.ts';
import { grantedRules } from '../rules/granted-rules.ts';
import { linkStateOf } from '../enforcement/link-state.ts';
import { listedOnce } from '../enforcement/listed-once.ts';
import type { ListedTable } from '../rules/layer-listing.ts';
import type { Direction, PodRules } from '../rules/pod-chains.ts';
import { judgeTable } from '../rules/tables.ts';
import { judgeEnd, nameOf } from './endpoint-steps.ts';
import type { ComparedLayer, JudgedEnd } from './endpoint-steps.ts';
import type { Seen } from './allowance.ts';

export interface ExplainDeps {
  /** The current attachments. */
  readonly records: readonly AttachmentRecord[];
  readonly policy: Pick<Enforcer, 'rulesOf'>;
  readonly kernel: Pick<HostKernel, 'isOwnAddress' | 'link' | 'listedElements' | 'listedRules'>;
  readonly denials: readonly Denial[];
}

/**
 * Explains what denies a pod's connection, or lets it pass. Without a connection, returns what was denied for
 * the pod.
 * @throws NETWORK_POD_UNKNOWN · NETWORK_POD_AMBIGUOUS · NETWORK_BAD_PEER
 */
export function explainDenial({ pod, connection }: DenialQuestion, given: ExplainDeps): DenialExplanation {
  const deps = { ...given, kernel: { ...given.kernel, ...listedOnce(given.kernel) } };
  const record = podCalled(pod, deps.records);
  const { spec, id } = record;
  const about = {
    id,
    pod: { namespace: spec.pod.namespace, name: spec.pod.name, uid: spec.pod.uid },
    network: spec.network,
    addresses: spec.addresses.map(({ ip }) => ip),
    class: record.class,
    denied: deps.denials.filter((denial) => denial.id === id),
  };
  if (connection === undefined) return { ...about, steps: [], problems: problemsOf(record, deps) };
  const judged = judgeConnection(record, connection, deps);
  return { ...about, ...judged };
}

function problemsOf(record: AttachmentRecord, { kernel }: ExplainDeps): readonly string[] {
  return isHeld(record.spec)
    ? linkStateOf(record, kernel).problems.map((problem) => `${nameOf(record)}: ${problem}`)
    : [];
}

function judgeConnection(
  record: AttachmentRecord,
  asked: AskedConnection,
  deps: ExplainDeps,
): Pick<DenialExplanation, 'connection' | 'outcome' | 'steps' | 'problems'> {
  const named = peerOf(asked.peer, record, deps.records);
  const { direction, protocol } = asked;
  const led = direction === 'egress' ? hostPortOf(named, asked, deps) : undefined;
  const peer = led?.address ?? named;
  const port = led?.port ?? asked.port ?? (peer.family === 4 ? echo[4] : echo[6]);
  const own = record.spec.addresses
    .flatMap(({ ip }) => parseIp(ip) ?? [])
    .find(({ family }) => family === peer.family);
  if (own === undefined) throw badPeer(asked.peer, `the pod has no IPv${peer.family} address`);
  const other = led?.record ?? ownerOf(peer, deps.records);
  const peerIsHost = other === undefined && deps.kernel.isOwnAddress(formatIp(peer));

  const seen: Seen = {
    direction,
    peer,
    peerIsHost,
    protocol,
    port,
    ...(other !== undefined && { peerPod: peerPodOf(other) }),
  };
  const ends = [judgeEnd(endOf(record, direction, deps), seen)];
  if (other !== undefined && other.id !== record.id) {
    const reverse: Direction = direction === 'egress' ? 'ingress' : 'egress';
    const back: Seen = {
      direction: reverse,
      peer: own,
      peerIsHost: false,
      peerPod: peerPodOf(record),
      protocol,
      port,
    };
    ends.push(judgeEnd(endOf(other, reverse, deps), back));
  }
  // In the order in which the connection meets them: the initiator first.
  const ordered = direction === 'egress' ? ends : ends.toReversed();
  const steps = [
    ...(led === undefined ? [] : [hostPortStep(record, named, asked, led)]),
    ...ordered.flatMap((end) => end.steps),
  ];
  const [from, to] = direction === 'egress' ? [own, peer] : [peer, own];
  return {
    connection: { from: formatIp(from), to: formatIp(to), protocol, port },
    outcome: outcomeOf(steps),
    steps,
    problems: ordered.flatMap(({ problems }) => problems),
  };
}

/** An echo request: type 8 of ICMP, 128 of ICMPv6. */
const echo = { 4: 8 * 256, 6: 128 * 256 } as const;

function outcomeOf(steps: readonly ExplainedStep[]): 'allowed' | 'denied' | 'unknown' {
  if (steps.some(({ says }) => says === 'denies')) return 'denied';
  return steps.some(({ says }) => says === 'unknown') ? 'unknown' : 'allowed';
}

function endOf(record: AttachmentRecord, direction: Direction, { policy, kernel }: ExplainDeps): JudgedEnd {
  const rules: PodRules = policy.rulesOf(record.id) ?? { profile: {}, policies: {} };
  const inKernel = (layer: ComparedLayer): readonly LinkRule[] | undefined => {
    const chain = `${record.spec.hostInterface}_${direction}_${layer}`;
    const table: ListedTable = {
      rules: (one) => kernel.listedRules(judgeTable, one),
      elements: (set) => kernel.listedElements(judgeTable, set),
    };
    return table.rules(chain).length === 0 ? undefined : grantedRules(chain, table);
  };
  return { record, rules, inKernel, ...(isHeld(record.spec) && { state: linkStateOf(record, kernel) }) };
}

interface HostPort {
  readonly record: AttachmentRecord;
  readonly address: IpAddress;
  readonly port: number;
}

/** Resolves a host port to the pod and port behind it. */
function hostPortOf(
  host: IpAddress,
  { protocol, port }: AskedConnection,
  { records, kernel }: ExplainDeps,
): HostPort | undefined {
  if (port === undefined || !kernel.isOwnAddress(formatIp(host))) return undefined;
  for (const record of records) {
    const mapping = record.spec.portMappings.find((each) => {
      const hostIp = parseIp(each.hostIp ?? '');
      return (
        each.protocol === protocol &&
        each.hostPort === port &&
        (hostIp === undefined || (hostIp.value === 0n && hostIp.family === host.family) || same(hostIp, host))
      );
    });
    const address = mapping === undefined ? undefined : addressOf(record, host.family);
    if (mapping !== undefined && address !== undefined)
      return { record, address, port: mapping.containerPort };
  }
  return undefined;
}

function hostPortStep(
  record: AttachmentRecord,
  host: IpAddress,
  { protocol, port }: AskedConnection,
  led: HostPort,
): ExplainedStep {
  const why = `${port ?? ''}/${protocol} of the host (${formatIp(host)}) leads to ${nameOf(led.record)}: ${formatIp(led.address)}, port ${led.port}`;
  return { pod: nameOf(record), direction: 'egress', rule: 'host port', says: 'nothing', why };
}

const same = (a: IpAddress, b: IpAddress): boolean => a.family === b.family && a.value === b.value;

const addressOf = ({ spec }: AttachmentRecord, family: IpFamily): IpAddress | undefined =>
  spec.addresses.flatMap(({ ip }) => parseIp(ip) ?? []).find((address) => address.family === family);

const ownerOf = (address: IpAddress, records: readonly AttachmentRecord[]): AttachmentRecord | undefined =>
  records.find(({ spec }) =>
    [...spec.addresses, ...heldLinks(spec).flatMap(({ addresses }) => addresses)].some(({ ip }) =>
      same(parseIp(ip) ?? { family: 4, value: -1n }, address),
    ),
  );

const peerPodOf = ({ spec: { pod } }: AttachmentRecord): NonNullable<Seen['peerPod']> => ({
  namespace: pod.namespace,
  name: pod.name,
  labels: pod.labels ?? {},
});

/**
 * Resolves a peer: an address, or a pod of this node. For a pod, returns its address of a family that both
 * pods have.
 */
function peerOf(peer: string, record: AttachmentRecord, records: readonly AttachmentRecord[]): IpAddress {
  const address = parseIp(peer);
  if (address !== undefined) return address;
  const other = podCalled(peer, records);
  const shared = ([4, 6] as const).find(
    (family) => addressOf(record, family) !== undefined && addressOf(other, family) !== undefined,
  );
  const found = shared === undefined ? undefined : addressOf(other, shared);
  if (found === undefined) throw badPeer(peer, 'the two pods have no address of the same family');
  return found;
}

function podCalled(pod: string, records: readonly AttachmentRecord[]): AttachmentRecord {
  const named = records.filter(
    (record) => record.id === pod || nameOf(record) === pod || record.spec.pod.name === pod,
  );
  const found = named.length > 0 || pod === '' ? named : records.filter(({ id }) => id.startsWith(pod));
  const [first, second] = found;
  if (first === undefined) throw unknownPod(pod);
  if (second !== undefined) throw ambiguousPod(pod, found);
  return first;
}

const mostNamed = 10;

function unknownPod(pod: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_POD_UNKNOWN',
    kind: 'not-found',
    attempted: 'explain the network of the pod',
    on: pod,
    why: 'no pod with a network on this node has this name or id',
    fix: "use NAMESPACE/NAME, NAME, or the beginning of the sandbox's id, as portcullis pods shows them",
  });
}

/** A pod can have two sandboxes, while the older one is being removed: only their ids tell them apart. */
function ambiguousPod(pod: string, found: readonly AttachmentRecord[]): PortcullisError {
  const named = found.slice(0, mostNamed).map((record) => `${nameOf(record)} (${record.id.slice(0, 13)})`);
  const more = found.length > mostNamed ? `, and ${found.length - mostNamed} more` : '';
  return new PortcullisError({
    code: 'NETWORK_POD_AMBIGUOUS',
    kind: 'invalid',
    attempted: 'explain the network of the pod',
    on: pod,
    why: `several pods match: ${named.join(', ')}${more}`,
    fix: "use the beginning of the sandbox's id, which is in parentheses",
  });
}

function badPeer(peer: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_BAD_PEER',
    kind: 'invalid',
    attempted: 'explain the connection with',
    on: peer,
    why,
    fix: 'use an address of the other family, or another pod',
  });
}
