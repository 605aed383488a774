import type { NetworkName } from '../../database/endpoint-names.ts';
import { namesAt } from '../../database/call-names.ts';
import type { MemberPort } from '../../spec/memberships.ts';
import { noServiceRules, whyClosed } from '../../spec/service-rules.ts';
import { maxBackends } from '../description/schema.ts';
import type { Backend, Service, ServicePort } from '../model/model.ts';
import { inOwnOrder } from '../slots/own-order.ts';
import { memberNames } from '../../database/memberships.ts';
import type { Member, NetworkService } from './members.ts';

/** Translates a service of a network for the balancer and for the names. Pure. */

/** A member that left has no link any more: its clients can only learn that the connection ended. */
const drainGraceSeconds = 2;

/** Returns the name of a service of this source: `NETWORK/NAME`. */
export const serviceNameOf = ({ network, name }: Pick<NetworkService, 'network' | 'name'>): string =>
  `${network}/${name}`;

/** Ports that hosts publish are a separate service, because they have other clients. */
export const ingressNameOf = (service: Pick<NetworkService, 'network' | 'name'>): string =>
  `${serviceNameOf(service)}.ingress`;

export const modeOf = ({ members: [first] }: NetworkService): Member['mode'] => first.mode;

/**
 * The most addresses of a family that get connections: with both families as many as a service may have. A
 * refused service would keep the addresses of members that left.
 */
export const mostBalanced = maxBackends / 2;

/** Whether there are more addresses than that. Each host then balances a different part. */
export const isCrowded = (service: NetworkService): boolean =>
  modeOf(service) === 'vip' &&
  byFamily(readyOf(service).flatMap(({ addresses }) => addresses)).some(
    ({ length }) => length > mostBalanced,
  );

const readyOf = ({ members }: NetworkService): readonly Member[] => members.filter(({ isReady }) => isReady);

const byFamily = (addresses: readonly string[]): readonly (readonly string[])[] => [
  addresses.filter((address) => !address.includes(':')),
  addresses.filter((address) => address.includes(':')),
];

/**
 * @param addresses the virtual addresses
 * @param host a name that no other host has; it selects this host's part if there are too many members
 * @param isOpen whether this host publishes a port that a member asks for
 */
export function balancedServices(
  service: NetworkService,
  addresses: readonly string[],
  host: string,
  isOpen: (member: Member, port: MemberPort) => boolean = (member, port) =>
    whyNotPublished(service, member, port) === undefined,
): Service[] {
  if (modeOf(service) !== 'vip') return [];
  const virtual = portsOf(service, virtualPorts);
  const published = publishedPorts(service, isOpen);
  const ingress = portsOf(service, published);
  return [
    ...(virtual.length === 0 || addresses.length === 0
      ? []
      : [
          {
            ...common(serviceNameOf(service)),
            addresses,
            ports: virtual,
            backends: backendsOf(service, host, virtual, virtualPorts),
          },
        ]),
    ...(ingress.length === 0
      ? []
      : [
          {
            ...common(ingressNameOf(service)),
            ports: ingress.map((port) => ({ ...port, nodePort: port.port })),
            backends: backendsOf(service, host, ingress, published),
          },
        ]),
  ];
}

/**
 * Returns the names of the virtual service. Names of members are stored with the members, except in services
 * over hosts.
 */
export function serviceNames(
  { name, members, spanned }: NetworkService,
  addresses: readonly string[],
): NetworkName[] {
  const aliases = new Set(members.flatMap((member) => member.aliases));
  aliases.delete(name);
  return [
    ...namesAt(addresses, 'service', [name, ...aliases]),
    ...(spanned === undefined ? [] : members.flatMap(namesOfMember)),
  ];
}

/** Returns the names of one member alone. */
export const namesOfMember = ({ service, addresses, ...member }: Member): NetworkName[] =>
  memberNames({ addresses, memberships: [{ ...member, name: service }] });

/** If two services of a network over hosts want the same port, one of them has it, the same on every host. */
function publishedPorts(
  { spanned }: NetworkService,
  isOpen: (member: Member, port: MemberPort) => boolean,
): (member: Member) => readonly MemberPort[] {
  const own = spanned && new Set(spanned.ingressPorts);
  return (member) =>
    member.ingressPorts.filter((port) => own?.has(nameOf(port)) !== false && isOpen(member, port));
}

/**
 * Returns why this host does not publish an ingress port of a member, or undefined if it does. The rules are
 * those of the network's file at the time when the member joined. For a network over hosts, the rules are
 * this host's own settings, which also apply to members on other hosts.
 */
export function whyNotPublished(
  { spanned }: NetworkService,
  { owner, rules }: Member,
  port: MemberPort,
): string | undefined {
  return whyClosed((spanned === undefined ? rules : spanned.rules) ?? noServiceRules, owner ?? '', port);
}

const common = (name: string): Service => ({
  name,
  addresses: [],
  externalAddresses: [],
  ports: [],
  scheduler: 'rr',
  clientAffinity: false,
  forwarding: 'nat',
  sourceAddress: 'keep',
  drainGraceSeconds,
  backends: [],
});

const nameOf = ({ protocol, port }: MemberPort): string => `${protocol}-${port}`;

/**
 * Returns the named ports, and the ports that hosts publish: libnetwork's virtual address serves those as
 * well.
 */
function virtualPorts({ ports, ingressPorts }: Member): readonly MemberPort[] {
  const served = new Set(ports.map(nameOf));
  const published = ingressPorts.map(({ protocol, targetPort }): MemberPort => ({
    protocol,
    port: targetPort,
    targetPort,
  }));
  return [...ports, ...new Map(published.map((port) => [nameOf(port), port])).values()].filter(
    (port, index) => index < ports.length || !served.has(nameOf(port)),
  );
}

/** Returns all ports that any member has. Each member states its own target port. */
function portsOf({ members }: NetworkService, of: (member: Member) => readonly MemberPort[]): ServicePort[] {
  const ports = new Map<string, ServicePort>();
  for (const port of members.flatMap(of))
    if (!ports.has(nameOf(port))) ports.set(nameOf(port), { name: nameOf(port), ...port });
  return [...ports.values()].toSorted((a, b) => a.port - b.port || a.protocol.localeCompare(b.protocol));
}

function backendsOf(
  service: NetworkService,
  host: string,
  ports: readonly ServicePort[],
  of: (member: Member) => readonly MemberPort[],
): Backend[] {
  const all = readyOf(service).flatMap((member) => {
    const own = new Map(of(member).map((port) => [nameOf(port), port.targetPort]));
    const without = ports.flatMap(({ name }) => (own.has(name) ? [] : [name]));
    const others = ports.flatMap(({ name, targetPort }) => {
      const target = own.get(name);
      return target === undefined || target === targetPort ? [] : [[name, target] as const];
    });
    return member.addresses.map((address): Backend => ({
      address,
      ...(others.length > 0 && { ports: Object.fromEntries(others) }),
      ...(without.length > 0 && { without }),
    }));
  });
  const part = byFamily(all.map(({ address }) => address)).flatMap((each) =>
    each.length <= mostBalanced ? each : inOwnOrder(each, host).slice(0, mostBalanced),
  );
  const balanced = new Set(part);
  return all.filter(({ address }) => balanced.has(address));
}
