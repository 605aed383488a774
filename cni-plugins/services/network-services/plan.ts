import type { NetworkName } from '../../attach/names.ts';
import { namesAt } from '../../attach/call-names.ts';
import type { MemberPort } from '../../spec/memberships.ts';
import { noServiceRules, whyClosed } from '../../spec/service-rules.ts';
import type { Backend, Service, ServicePort } from '../model.ts';
import { inOwnOrder } from '../slots/part.ts';
import { mostSlots } from '../slots/sizes.ts';
import { memberNames } from '../../attach/memberships.ts';
import type { Member, NetworkService } from './members.ts';

/** What a service of a network is to the balancer and to the names. Pure. */

/** Who left has no link any more: what was connected to it can only be told that it ended. */
const drainGraceSeconds = 2;

/** As services of this source are called: `NETWORK/NAME`. */
export const serviceNameOf = ({ network, name }: Pick<NetworkService, 'network' | 'name'>): string => `${network}/${name}`;

/** What is published by hosts stands beside it: its clients are others. */
export const ingressNameOf = (service: Pick<NetworkService, 'network' | 'name'>): string => `${serviceNameOf(service)}.ingress`;

export const modeOf = ({ members: [first] }: NetworkService): Member['mode'] => first.mode;

/** So many addresses of a family get connections, by whichever balancer: a service that is refused would keep those of members that left. */
export const mostBalanced = mostSlots;

/** Whether there are more: a part is balanced, another one on each host. */
export const isCrowded = (service: NetworkService): boolean =>
  modeOf(service) === 'vip' && byFamily(readyOf(service).flatMap(({ addresses }) => addresses)).some(({ length }) => length > mostBalanced);

const readyOf = ({ members }: NetworkService): readonly Member[] => members.filter(({ isReady }) => isReady);

const byFamily = (addresses: readonly string[]): readonly (readonly string[])[] => [
  addresses.filter((address) => !address.includes(':')),
  addresses.filter((address) => address.includes(':')),
];

/**
 * @param addresses the virtual ones
 * @param host what no other host has: it says whose part this host balances, where members are too many
 * @param isOpen whether this host publishes a port that a member asks for
 */
export function balancedServices(
  service: NetworkService,
  addresses: readonly string[],
  host: string,
  isOpen: (member: Member, port: MemberPort) => boolean = (member, port) => whyNotPublished(service, member, port) === undefined,
): Service[] {
  if (modeOf(service) !== 'vip') return [];
  const virtual = portsOf(service, virtualPorts);
  const published = publishedPorts(service, isOpen);
  const ingress = portsOf(service, published);
  return [
    ...(virtual.length === 0 || addresses.length === 0
      ? []
      : [{ ...common(serviceNameOf(service)), addresses, ports: virtual, backends: backendsOf(service, host, virtual, virtualPorts) }]),
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

/** What the virtual service is found by. Names of members are written down with them, but for those of services over hosts. */
export function serviceNames({ name, members, spanned }: NetworkService, addresses: readonly string[]): NetworkName[] {
  const aliases = new Set(members.flatMap((member) => member.aliases));
  aliases.delete(name);
  return [...namesAt(addresses, 'service', [name, ...aliases]), ...(spanned === undefined ? [] : members.flatMap(namesOfMember))];
}

/** What a member alone is found by. */
export const namesOfMember = ({ service, addresses, ...member }: Member): NetworkName[] =>
  memberNames({ addresses, memberships: [{ ...member, name: service }] });

/** Of those that two services of a network over hosts want, one has each: the same on every host. */
function publishedPorts(
  { spanned }: NetworkService,
  isOpen: (member: Member, port: MemberPort) => boolean,
): (member: Member) => readonly MemberPort[] {
  const own = spanned && new Set(spanned.ingressPorts);
  return (member) => member.ingressPorts.filter((port) => own?.has(nameOf(port)) !== false && isOpen(member, port));
}

/**
 * Why this host does not publish an ingress port of a member; undefined: it does. The rules are those of the network's file, as it was when the member
 * joined; of a network over hosts those of this host's own settings, which hold for members on other hosts as well.
 */
export function whyNotPublished({ spanned }: NetworkService, { owner, rules }: Member, port: MemberPort): string | undefined {
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

/** Those named, and what is published by hosts: libnetwork's virtual address serves that as well. */
function virtualPorts({ ports, ingressPorts }: Member): readonly MemberPort[] {
  const served = new Set(ports.map(nameOf));
  const published = ingressPorts.map(({ protocol, targetPort }): MemberPort => ({ protocol, port: targetPort, targetPort }));
  return [...ports, ...new Map(published.map((port) => [nameOf(port), port])).values()].filter(
    (port, index) => index < ports.length || !served.has(nameOf(port)),
  );
}

/** All that any member has; of which target port is said by each of them. */
function portsOf({ members }: NetworkService, of: (member: Member) => readonly MemberPort[]): ServicePort[] {
  const ports = new Map<string, ServicePort>();
  for (const port of members.flatMap(of)) if (!ports.has(nameOf(port))) ports.set(nameOf(port), { name: nameOf(port), ...port });
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
