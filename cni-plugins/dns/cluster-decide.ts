import { formatIp, ipBytes, ipFromBytes, parseIp } from '../../base/addresses/index.ts';
import type { IpAddress } from '../../base/addresses/index.ts';
import type { ClusterNames, PlacedEndpoint } from '../cluster-names/table.ts';
import type { NamedPort, NamedService } from '../cluster-names/objects.ts';
import { isMetaType, reverseAddress } from './decide.ts';
import { encodeName, soaData } from './reply.ts';
import { classIn, extendedError, rcode, type } from './message-format.ts';
import type { Answer, Reply } from './reply.ts';
import type { Query } from './query.ts';

/**
 * Answers the names of a cluster (Kubernetes DNS-Based Service Discovery 1.1.0; the section is beside each
 * part). A function of the question and of the cluster's services. Pure.
 */

export interface ClusterZone {
  /** The cluster's domain, in lower case: `cluster.local`. */
  readonly domain: string;
  /** Seconds that an answer may be cached. */
  readonly ttl: number;
  /** Whether names of pods (section 2.6) are answered. */
  readonly podNames: boolean;
  /** The address of the name server: that of `ns.dns` below the domain, as CoreDNS names its own. */
  readonly address: IpAddress;
}

/** `alias`: the name is an alias of a name elsewhere, which other servers are asked for. */
export type ClusterDecision =
  | Reply
  | { readonly alias: string; readonly chain: readonly Answer[] }
  | undefined;

/** As in CoreDNS. */
const contact = { server: 'ns.dns', mailbox: 'hostmaster' };
/** Version of the schema (section 2.2). */
const schemaVersion = '1.1.0';
/** The most records of an answer: over TCP more than these would not fit. */
const mostRecords = 512;
/** Aliases within the cluster that are followed for one question. */
const mostAliases = 8;

/** @returns undefined: the name is not the cluster's, or the question is refused, such as for a transfer */
export function decideForCluster(query: Query, names: ClusterNames, zone: ClusterZone): ClusterDecision {
  const { name, end = '' } = query;
  if (query.class !== classIn || (query.edns?.version ?? 0) !== 0 || isMetaType(query.type)) return undefined;
  // No service has a name without a text form, and outside servers must not see the cluster's questions.
  if (name === undefined)
    return isBelow(end, zone.domain) ? replyOf(zone, rcode.NXDOMAIN, [], true) : undefined;
  const address = reverseAddress(name);
  const isOwn = isBelow(name, zone.domain);
  if (address === undefined && !isOwn) return undefined;
  // A name that may exist must not be reported as absent: a client would then try another name.
  if (!names.complete()) return notReady;
  if (address !== undefined) return reverse(formatIp(ipFromBytes(address)), query.type, names, zone);
  return forward(name, query.type, names, zone, []);
}

const isBelow = (name: string, domain: string): boolean => name === domain || name.endsWith(`.${domain}`);

const notReady: Reply = {
  rcode: rcode.SERVFAIL,
  answers: [],
  ttl: 0,
  authoritative: false,
  extendedError: extendedError.notReady,
};

/** @param denies whether the name that was asked for, or that aliases lead to, has no such record */
const replyOf = (
  { domain, ttl }: ClusterZone,
  code: number,
  answers: readonly Answer[],
  denies: boolean,
): Reply => ({
  rcode: code,
  answers,
  ttl,
  authoritative: true,
  ...(denies && { zoneLabels: domain.split('.').length, zoneContact: contact }),
});

/** The records of a name. Undefined: the name does not exist. */
interface Found {
  readonly records: readonly Answer[];
  readonly additionals?: readonly Answer[];
}
const empty: Found = { records: [] };

/** @param chain aliases that led here */
function forward(
  name: string,
  asked: number,
  names: ClusterNames,
  zone: ClusterZone,
  chain: readonly Answer[],
): Exclude<ClusterDecision, undefined> {
  const labels = name === zone.domain ? [] : name.slice(0, -zone.domain.length - 1).split('.');
  const service = labels.length === 3 && labels[2] === 'svc' ? serviceAt(labels, names) : undefined;
  if (service?.externalName !== undefined)
    return alias(service.externalName, name, asked, names, zone, chain);
  const owner = chain.length === 0 ? undefined : encodeName(name);
  const found = findAt(labels, asked, names, zone);
  if (found === undefined) return replyOf(zone, rcode.NXDOMAIN, chain, true);
  const answers = ofType(found.records, asked).map((record) =>
    owner === undefined ? record : { ...record, owner },
  );
  const reply = replyOf(zone, rcode.NOERROR, [...chain, ...answers], answers.length === 0);
  return found.additionals === undefined || answers.length === 0
    ? reply
    : { ...reply, additionals: found.additionals };
}

/** RFC 8482: a question for all types gets one of them. */
function ofType(records: readonly Answer[], asked: number): readonly Answer[] {
  const wanted = asked === type.ANY ? records[0]?.type : asked;
  return records.filter((record) => record.type === wanted);
}

/** Section 2.5. */
function alias(
  target: string,
  name: string,
  asked: number,
  names: ClusterNames,
  zone: ClusterZone,
  before: readonly Answer[],
): Exclude<ClusterDecision, undefined> {
  const record: Answer = {
    type: type.CNAME,
    data: encodeName(target),
    ...(before.length > 0 && { owner: encodeName(name) }),
  };
  const chain = [...before, record];
  // Only addresses are looked up: a resolver that wants another type asks again.
  if (asked !== type.A && asked !== type.AAAA) return replyOf(zone, rcode.NOERROR, chain, false);
  if (target !== zone.domain && !target.endsWith(`.${zone.domain}`)) return { alias: target, chain };
  if (chain.length >= mostAliases) return { ...notReady, extendedError: extendedError.noReachableAuthority };
  return forward(target, asked, names, zone, chain);
}

function serviceAt(labels: readonly string[], names: ClusterNames): NamedService | undefined {
  const [name = '', namespace = ''] = labels.slice(-3);
  return names.service(namespace, name);
}

function findAt(
  labels: readonly string[],
  asked: number,
  names: ClusterNames,
  zone: ClusterZone,
): Found | undefined {
  const top = labels.at(-1);
  const [, namespace] = labels.toReversed();
  if (top === undefined) return apexOf(zone);
  // CoreDNS has the name server here, and no other name of the zone ends like this.
  if (top === 'dns') {
    if (labels.length === 1) return empty;
    return labels.length === 2 && namespace === 'ns' ? { records: [serverRecord(zone)] } : undefined;
  }
  // Section 2.2.
  if (top === 'dns-version' && labels.length === 1) return { records: [text(schemaVersion)] };
  if (top === 'pod' && zone.podNames) return podAt(labels);
  if (top !== 'svc') return undefined;
  if (namespace === undefined) return empty;
  if (labels.length === 2) return names.hasNamespace(namespace) ? empty : undefined;
  const service = serviceAt(labels, names);
  if (service === undefined) return undefined;
  const further = labels.slice(0, -3);
  if (further.length === 0) {
    const found = addressesOf(service, names);
    return found && asked === type.SRV ? allPortsOf(service, names, zone) : found;
  }
  if (further.at(-1)?.startsWith('_') === true) return portsOf(service, further, names, zone);
  const [hostname = ''] = further;
  if (further.length > 1 || service.externalName !== undefined) return undefined;
  // Section 2.4.1.
  const endpoints = names.endpoints(service).byHostname.get(hostname);
  if (endpoints === undefined) return undefined;
  if (asked === type.SRV) return targetsOf(endpoints, baseOf(service, zone), () => true);
  return { records: addressRecords(endpoints) };
}

const serverRecord = ({ address }: ClusterZone): Answer => addressRecord({ address: ipBytes(address) });

/** The records of the zone itself. */
function apexOf(zone: ClusterZone): Found {
  const server = encodeName(`${contact.server}.${zone.domain}`);
  const soa = soaData(server, encodeName(`${contact.mailbox}.${zone.domain}`), zone.ttl);
  return {
    records: [
      { type: type.SOA, data: soa },
      { type: type.NS, data: server },
    ],
    additionals: [{ ...serverRecord(zone), owner: server }],
  };
}

/** Section 2.6. */
function podAt(labels: readonly string[]): Found | undefined {
  if (labels.length < 3) return empty;
  const [text = ''] = labels;
  const address = labels.length > 3 ? undefined : dashedAddress(text);
  return address && { records: [addressRecord({ address })] };
}

/** Returns the address of `10-0-0-1`, or of `fd00--1`. */
function dashedAddress(text: string): Uint8Array | undefined {
  const parsed = parseIp(text.replaceAll('-', '.')) ?? parseIp(text.replaceAll('-', ':'));
  return parsed && ipBytes(parsed);
}

/** Sections 2.3.1 and 2.4.1: a headless service without an endpoint has no name. */
function addressesOf(service: NamedService, names: ClusterNames): Found | undefined {
  if (service.addresses.length > 0) return { records: ownAddresses(service) };
  const { all, byFamily } = names.endpoints(service);
  const records = (bytes: number): readonly Answer[] => addressRecords(byFamily.get(bytes) ?? []);
  return all.length === 0 ? undefined : { records: [...records(4), ...records(16)] };
}

const ownAddresses = ({ addresses }: NamedService): Answer[] =>
  addresses.flatMap((text) => {
    const parsed = parseIp(text);
    return parsed === undefined ? [] : [addressRecord({ address: ipBytes(parsed) })];
  });

/** Sections 2.3.2 and 2.4.2: `_PORT._PROTOCOL`, or `_PROTOCOL` alone, which only has names below it. */
function portsOf(
  service: NamedService,
  [first = '', second, ...rest]: readonly string[],
  names: ClusterNames,
  zone: ClusterZone,
): Found | undefined {
  if (rest.length > 0 || !first.startsWith('_')) return undefined;
  const protocol = (second ?? first).slice(1);
  const own = service.ports.filter((port) => port.protocol === protocol && port.name !== '');
  if (second === undefined) return own.length > 0 ? empty : undefined;
  const port = own.find((each) => `_${each.name}` === first);
  if (port === undefined) return undefined;
  if (service.addresses.length > 0) return ownTargets(service, [port], zone);
  // The port of a headless service is that of its pods.
  const found = targetsOf(
    names.endpoints(service).all,
    baseOf(service, zone),
    (each) => each.name === port.name && each.protocol === protocol,
  );
  return found.records.length === 0 ? undefined : found;
}

const baseOf = ({ name, namespace }: NamedService, { domain }: ClusterZone): string =>
  `${name}.${namespace}.svc.${domain}`;

/**
 * The specification has no SRV records at the name of a service itself. CoreDNS has one for each port, also
 * for ports without a name, and members of a StatefulSet find each other by them.
 */
function allPortsOf(service: NamedService, names: ClusterNames, zone: ClusterZone): Found {
  if (service.addresses.length > 0) return ownTargets(service, service.ports, zone);
  return targetsOf(names.endpoints(service).all, baseOf(service, zone), () => true);
}

/** Section 2.3.2. */
function ownTargets(service: NamedService, ports: readonly NamedPort[], zone: ClusterZone): Found {
  const target = encodeName(baseOf(service, zone));
  const numbers = new Set<number>();
  for (const { port } of ports) if (numbers.size < mostRecords) numbers.add(port);
  return {
    records: [...numbers].map((number) => srv(numbers.size, number, target)),
    additionals: ownAddresses(service).map((record) => ({ ...record, owner: target })),
  };
}

/** Section 2.4.2: the ports of endpoints. */
function targetsOf(
  endpoints: readonly PlacedEndpoint[],
  base: string,
  isAsked: (port: NamedPort) => boolean,
): Found {
  const end = encodeName(base);
  const found = new Map<string, { readonly number: number; readonly target: Buffer }>();
  const targets: (PlacedEndpoint & { readonly owner: Uint8Array })[] = [];
  /** Endpoints of one slice share its ports, of which there may be thousands. */
  const asked = new Map<readonly NamedPort[], readonly NamedPort[]>();
  for (const endpoint of part(endpoints)) {
    if (found.size >= mostRecords) break;
    const ports = asked.get(endpoint.ports) ?? endpoint.ports.filter(isAsked).slice(0, mostRecords);
    asked.set(endpoint.ports, ports);
    if (ports.length === 0) continue;
    const { hostname } = endpoint;
    const target = Buffer.concat([Buffer.of(hostname.length), Buffer.from(hostname, 'latin1'), end]);
    for (const { port } of ports) {
      if (found.size >= mostRecords) break;
      found.set(`${port} ${hostname}`, { number: port, target });
    }
    targets.push({ ...endpoint, owner: target });
  }
  return {
    records: [...found.values()].map(({ number, target }) => srv(found.size, number, target)),
    additionals: distinct(targets, (each) => `${each.hostname} ${keyOf(each)}`).map(({ owner, ...each }) => ({
      ...addressRecord(each),
      owner,
    })),
  };
}

/** Sections 2.3.3 and 2.4.3. Undefined: other servers may know the address. */
function reverse(address: string, asked: number, names: ClusterNames, zone: ClusterZone): Reply | undefined {
  const owners = names.owners(address);
  if (owners.length === 0) return undefined;
  const records = owners.map(({ namespace, name, hostname }): Answer => {
    const base = `${name}.${namespace}.svc.${zone.domain}`;
    return { type: type.PTR, data: encodeName(hostname === undefined ? base : `${hostname}.${base}`) };
  });
  const answers = ofType(records, asked);
  // The zone of the address is not ours, so a denial names none.
  return { rcode: rcode.NOERROR, answers, ttl: zone.ttl, authoritative: true };
}

/** Returns a part that fits, from a random place on: clients use the first address. */
function part<T>(all: readonly T[]): readonly T[] {
  const start = Math.floor(Math.random() * all.length);
  const count = Math.min(all.length, mostRecords);
  const atEnd = all.slice(start, start + count);
  return [...atEnd, ...all.slice(0, count - atEnd.length)];
}

const keyOf = ({ address }: PlacedEndpoint): string => address.join('.');

/** Leaves out repeated endpoints: one is there for each of its slices. */
const distinct = <T>(all: readonly T[], key: (each: T) => string): readonly T[] => [
  ...new Map(all.map((each) => [key(each), each])).values(),
];

const addressRecords = (endpoints: readonly PlacedEndpoint[]): readonly Answer[] =>
  distinct(part(endpoints), keyOf).map(addressRecord);

const addressRecord = ({ address }: Pick<PlacedEndpoint, 'address'>): Answer => ({
  type: address.length === 4 ? type.A : type.AAAA,
  data: address,
});

/** RFC 2782: priority, weight, port, target. All endpoints weigh the same. */
function srv(count: number, port: number, target: Uint8Array): Answer {
  const head = Buffer.alloc(6);
  head.writeUInt16BE(Math.max(1, Math.floor(100 / count)), 2);
  head.writeUInt16BE(port, 4);
  return { type: type.SRV, data: Buffer.concat([head, target]) };
}

const text = (value: string): Answer => ({
  type: type.TXT,
  data: Buffer.concat([Buffer.of(value.length), Buffer.from(value, 'latin1')]),
});
