import { ipvsFlags } from '../../../base/netlink/index.ts';
import type {
  IpvsDestination,
  IpvsService,
  IpvsServiceKey,
  ListedDestination,
} from '../../../base/netlink/index.ts';
import { ipBytes, parseIp } from '../../../base/addresses/index.ts';
import type { Destination, Protocol, Refusal, ServerKey, VirtualServer } from '../model/model.ts';
import type { PlaneServer } from '../model/planes.ts';

/** Translates a virtual server to IPVS, and finds what IPVS refuses. Pure. */

const protocols: Readonly<Record<Protocol, { readonly number: number; readonly order: number }>> = {
  tcp: { number: 6, order: 0 },
  udp: { number: 17, order: 1 },
  sctp: { number: 132, order: 2 },
};

export const protocolNumber = (protocol: Protocol): number => protocols[protocol].number;

/**
 * The marks of node ports. A packet to a node port at any address of the host gets a mark, and IPVS has one
 * service for that mark. A change of the host's addresses therefore needs no action, and the scheduler counts
 * all addresses together. The mark alone encodes protocol and port. The upper four bits belong to others: the
 * verdict of a pod's rules (`../../policy/rules/tables.ts`) and the nf_tables balancer.
 */
export const nodePortMarks = { first: 0x08440000, mask: 0xfffc0000 } as const;

export const nodePortMark = (protocol: Protocol, port: number): number =>
  nodePortMarks.first + protocols[protocol].order * 0x10000 + port;

/**
 * The marks of inside planes. The rules set them by the source of a packet. First come those of node ports,
 * in the order of {@link nodePortMarks}, then those of addresses, which `inside-marks.ts` assigns.
 */
export const insideMarks = { first: 0x08480000, mask: 0xfff80000, ofAddresses: 0x084b0000 } as const;

/** Whether a mark is one of ours: of a node port, or of an inside plane. */
export const isOurMark = (mark: number): boolean =>
  [nodePortMarks, insideMarks].some((marks) => (mark & marks.mask) >>> 0 === marks.first);

export const familyNumber = (server: Pick<VirtualServer, 'family'>): 2 | 10 => (server.family === 4 ? 2 : 10);

/**
 * Returns the bytes of an address that the description has accepted.
 * @throws Error if it is not an address
 */
export function addressBytes(text: string): Buffer {
  const parsed = parseIp(text);
  if (parsed === undefined) throw new Error(`not an address: ${text}`);
  return ipBytes(parsed);
}

/** A plane of a virtual server, as IPVS has a service for it. */
export interface IpvsPlane extends PlaneServer {
  /** The mark of packets for an inside plane. */
  readonly mark?: number;
}

export function serviceKey(
  server: Pick<IpvsPlane, 'address' | 'family' | 'mark' | 'port' | 'protocol'>,
): IpvsServiceKey {
  const family = familyNumber(server);
  if (server.mark !== undefined) return { family, mark: server.mark };
  return server.address === undefined
    ? { family, mark: nodePortMark(server.protocol, server.port) }
    : {
        family,
        protocol: protocolNumber(server.protocol),
        address: addressBytes(server.address),
        port: server.port,
      };
}

/** Returns a service key as one word, for lookups. */
export const serviceId = (key: IpvsServiceKey): string =>
  'mark' in key
    ? `${key.family} ${key.mark}`
    : `${key.family} ${key.protocol} ${Buffer.from(key.address).toString('hex')} ${key.port}`;

export const destinationId = ({ address, port }: Pick<IpvsDestination, 'address' | 'port'>): string =>
  `${Buffer.from(address).toString('hex')} ${port}`;

/**
 * Returns IPVS's scheduler and its flags. `lc` maps to `wlc`, which is the same for equal weights. Client
 * affinity without memory maps to the consistent hash of the client's address (`mh` without its port) for
 * schedulers that take turns: with `sh`, one backend more or less would move half of all clients. `sh` itself
 * maps to it, too, if the destinations do not fit into its table.
 */
export function schedulerOf({
  scheduler,
  clientAffinity,
  destinations,
}: Pick<VirtualServer, 'scheduler' | 'clientAffinity' | 'destinations'>): {
  readonly name: string;
  readonly flags: number;
} {
  // The flag makes the scheduler pass over a destination with weight 0 instead of returning none.
  if (scheduler === 'sh' && hashSlotsOf(destinations) > hashSlots)
    return { name: 'mh', flags: ipvsFlags.fallback };
  if (scheduler === 'sh') return { name: 'sh', flags: ipvsFlags.fallback };
  if (clientAffinity) return { name: 'mh', flags: ipvsFlags.fallback };
  if (scheduler === 'maglev') return { name: 'mh', flags: ipvsFlags.fallback | ipvsFlags.byPort };
  return { name: scheduler === 'lc' ? 'wlc' : scheduler, flags: 0 };
}

/**
 * The number of slots in the table of `sh` (IP_VS_SH_TAB_SIZE in ip_vs_sh.c of Linux). Each destination takes
 * as many as its weight, in turn, so that those after the end of the table would get no client.
 */
const hashSlots = 256;
const hashSlotsOf = (destinations: readonly Destination[]): number =>
  destinations.reduce((sum, { weight }) => sum + Math.max(1, weight), 0);

/**
 * Whether a persistent service of IPVS would reach the ports of the destinations. A persistent service of a
 * mark keeps the port of the packet (ip_vs_sched_persist in ip_vs_core.c of Linux).
 */
const reachesPorts = (key: IpvsServiceKey, { port, destinations }: IpvsPlane): boolean =>
  !('mark' in key) || destinations.every((destination) => destination.port === port);

export function serviceOf(server: IpvsPlane): IpvsService {
  const key = serviceKey(server);
  const { persistenceSeconds: demanded = 0 } = server;
  const persistence = reachesPorts(key, server) ? demanded : 0;
  // Without the demanded persistence, the hash of its address keeps a client on its destination.
  const clientAffinity = server.clientAffinity || persistence < demanded;
  const { name, flags } = schedulerOf({ ...server, clientAffinity });
  return {
    key,
    scheduler: name,
    flags: flags | (persistence === 0 ? 0 : ipvsFlags.persistent),
    timeoutSeconds: persistence,
  };
}

export function destinationsOf(server: VirtualServer): IpvsDestination[] {
  const forwarding = server.forwarding === 'dsr' ? 'direct' : 'masquerade';
  return server.destinations.map((destination) => destinationOf(destination, forwarding));
}

const destinationOf = (
  { address, port, weight }: Destination,
  forwarding: IpvsDestination['forwarding'],
): IpvsDestination => ({
  address: addressBytes(address),
  port,
  forwarding,
  weight,
});

export function refuse(server: VirtualServer): Refusal | undefined {
  if (server.clientAffinity && server.scheduler === 'lc')
    return {
      field: 'clientAffinity',
      why: 'IPVS has no scheduler that counts connections and keeps a client on its backend without remembering the client: use scheduler rr, wrr, sh or maglev, or persistenceSeconds',
    };
  if (server.forwarding !== 'dsr') return undefined;
  if (server.kind === 'node')
    return {
      field: 'forwarding',
      why: 'a node port is served at every address of the host, and with dsr each backend would need all these addresses',
    };
  if (server.sourceAddress === 'masquerade')
    return {
      field: 'sourceAddress',
      why: 'with dsr the backend answers the client itself, so it must see the client’s address',
    };
  const other = server.destinations.find(({ port }) => port !== server.port);
  if (other !== undefined)
    return {
      field: 'forwarding',
      why: `with dsr no port is rewritten: ${other.address} must answer at port ${server.port}, not ${other.port}`,
    };
  return undefined;
}

export const sameService = (a: IpvsService, b: IpvsService): boolean =>
  a.scheduler === b.scheduler && a.flags === b.flags && a.timeoutSeconds === b.timeoutSeconds;

export interface DestinationChanges {
  readonly add: readonly IpvsDestination[];
  readonly set: readonly IpvsDestination[];
  readonly remove: readonly ListedDestination[];
}

export function destinationChanges(
  wanted: readonly IpvsDestination[],
  present: readonly ListedDestination[],
): DestinationChanges {
  const found = new Map(present.map((each) => [destinationId(each), each]));
  const wantedIds = new Set(wanted.map(destinationId));
  return {
    add: wanted.filter((each) => !found.has(destinationId(each))),
    set: wanted.filter((each) => {
      const other = found.get(destinationId(each));
      return other !== undefined && (other.weight !== each.weight || other.forwarding !== each.forwarding);
    }),
    remove: present.filter((each) => !wantedIds.has(destinationId(each))),
  };
}

/** Splits a virtual server's key; the inverse of `keyOf`. @throws Error if the text is not a key */
export function readKey(key: ServerKey): Pick<VirtualServer, 'family' | 'protocol' | 'address' | 'port'> {
  const [family, protocol, address, port] = key.split(' ');
  if (
    (family !== '4' && family !== '6') ||
    (protocol !== 'tcp' && protocol !== 'udp' && protocol !== 'sctp') ||
    address === undefined
  )
    throw new Error(`not the key of a virtual server: ${key}`);
  return {
    family: family === '4' ? 4 : 6,
    protocol,
    port: Number(port),
    ...(address === '*' ? {} : { address }),
  };
}
