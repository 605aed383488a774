import { namesDomain, zoneOf } from '../spec/domain.ts';
import { encodeName } from './reply.ts';
import { rcode, type, classIn } from './message-format.ts';
import type { Answer, Reply } from './reply.ts';
import type { Query } from './query.ts';

/** Decides the answer: a function of the question and of what the asker sees. Pure. */

/** A network as one asker sees it. */
export interface SeenNetwork {
  readonly name: string;
  /** Whether the network's CIDR prefixes contain an address of 4 or 16 bytes. */
  holds(address: Uint8Array): boolean;
  /**
   * Returns the endpoints of a name in lower case; empty if there is none.
   * @param asked `whole`: the question was this name alone, so a name with a dot may be a domain from
   * elsewhere; absent: the network's name followed it
   */
  endpoints(name: string, asked?: 'whole'): readonly Endpoint[];
  /** Returns the name to which an address belongs. */
  nameOf(address: Uint8Array): string | undefined;
}

export interface Endpoint {
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  readonly kind: 'container' | 'alias' | 'service';
  /**
   * A bare name that was chosen in another Kubernetes namespace than the asker's: other name servers take
   * precedence.
   */
  readonly ofOthers?: true;
}

export interface ZoneSettings {
  /** Seconds that an answer may be cached. */
  readonly ttl: number;
}

/** `unlessElsewhere`: the reply that applies if no other name server has the name. */
export type Decision = Reply | 'forward' | { readonly unlessElsewhere: Reply };

/** RFC 6895, section 3.1: types that are about the transfer of a zone or a message, not about a name. */
export const isMetaType = (asked: number): boolean => asked > 128 && asked < type.ANY;

/** @param networks in the order in which they are searched: the first that knows the name answers */
export function decide(query: Query, networks: readonly SeenNetwork[], settings: ZoneSettings): Decision {
  if (query.edns !== undefined && query.edns.version !== 0) return bare(rcode.BADVERS);
  if (query.class !== classIn || isMetaType(query.type)) return bare(rcode.REFUSED);
  const { end = '' } = query;
  if (end === namesDomain || end.endsWith(`.${namesDomain}`))
    return authoritative(rcode.NXDOMAIN, [], settings.ttl, labelsOf(namesDomain));
  const own = query.name === undefined ? undefined : ownReply(query.name, query.type, networks, settings);
  if (own !== undefined) return 'unlessElsewhere' in own && !query.wantsRecursion ? own.unlessElsewhere : own;
  // A recursive answer to a client that did not ask for recursion would let it probe the cache of other
  // clients.
  return query.wantsRecursion ? 'forward' : bare(rcode.REFUSED);
}

const bare = (code: number): Reply => ({ rcode: code, answers: [], ttl: 0, authoritative: false });

/** Returns undefined if these networks cannot know the name. */
function ownReply(
  name: string,
  asked: number,
  networks: readonly SeenNetwork[],
  settings: ZoneSettings,
): Exclude<Decision, 'forward'> | undefined {
  const { ttl } = settings;
  const known = (endpoints: readonly Endpoint[], zoneLabels?: number): Reply | undefined =>
    endpoints.length === 0
      ? undefined
      : authoritative(rcode.NOERROR, addressAnswers(shuffled(preferred(endpoints)), asked), ttl, zoneLabels);
  const address = reverseAddress(name);
  if (address !== undefined) return reverseReply(address, asked, networks, settings);
  if (name === namesDomain) return authoritative(rcode.NOERROR, [], ttl, labelsOf(namesDomain));
  if (name.endsWith(`.${namesDomain}`)) {
    for (const network of networks) {
      const zone = zoneOf(network.name);
      const zoneLabels = labelsOf(zone);
      if (name === zone) return authoritative(rcode.NOERROR, [], ttl, zoneLabels);
      if (!name.endsWith(`.${zone}`)) continue;
      const reply = known(network.endpoints(name.slice(0, -zone.length - 1)), zoneLabels);
      if (reply !== undefined) return reply;
    }
    // This includes names of other networks: an asker that is not on them learns nothing, and no outside
    // server is asked.
    return authoritative(rcode.NXDOMAIN, [], ttl, labelsOf(namesDomain));
  }
  // RFC 6761, section 6.3: localhost belongs to the asker itself, whatever name a pod has.
  if (name === 'localhost' || name.endsWith('.localhost')) return undefined;
  let ofOthers: Reply | undefined;
  for (const network of networks) {
    const endpoints = network.endpoints(name, 'whole');
    const reply = known(endpoints);
    if (reply === undefined) continue;
    if (!endpoints.every((endpoint) => endpoint.ofOthers)) return reply;
    ofOthers ??= reply;
  }
  if (ofOthers !== undefined) return { unlessElsewhere: ofOthers };
  for (const network of networks) {
    const suffix = `.${network.name.toLowerCase()}`;
    const reply = name.endsWith(suffix) ? known(network.endpoints(name.slice(0, -suffix.length))) : undefined;
    if (reply !== undefined) return reply;
  }
  return undefined;
}

const labelsOf = (name: string): number => name.split('.').length;

/** A denial that applies only to this name carries no zone: the name is the asker's own short form. */
function authoritative(code: number, answers: readonly Answer[], ttl: number, zoneLabels?: number): Reply {
  return {
    rcode: code,
    answers,
    ttl,
    authoritative: true,
    ...(answers.length === 0 && zoneLabels !== undefined && { zoneLabels }),
  };
}

/**
 * Prefers a service over containers and aliases of its name: its address is virtual, or chosen by the
 * service.
 */
function preferred(endpoints: readonly Endpoint[]): readonly Endpoint[] {
  const services = endpoints.filter(({ kind }) => kind === 'service');
  return services.length > 0 ? services : endpoints;
}

function addressAnswers(endpoints: readonly Endpoint[], asked: number): Answer[] {
  const records = endpoints.map(({ address }) => ({
    type: address.length === 4 ? type.A : type.AAAA,
    data: address,
  }));
  // RFC 8482: a question for all types gets one record type.
  const wanted =
    asked !== type.ANY ? asked : records.some((record) => record.type === type.A) ? type.A : type.AAAA;
  return records.filter((record) => record.type === wanted);
}

/** Shuffles the endpoints, so that load spreads over clients that use the first address. */
function shuffled(endpoints: readonly Endpoint[]): readonly Endpoint[] {
  if (endpoints.length < 2) return endpoints;
  const order = [...endpoints];
  for (let last = order.length - 1; last > 0; last -= 1) {
    const at = Math.floor(Math.random() * (last + 1));
    const [a, b] = [order[last], order[at]];
    if (a !== undefined && b !== undefined) [order[last], order[at]] = [b, a];
  }
  return order;
}

function reverseReply(
  address: Uint8Array,
  asked: number,
  networks: readonly SeenNetwork[],
  settings: ZoneSettings,
): Reply | undefined {
  for (const network of networks) {
    const name = network.nameOf(address);
    if (name === undefined) continue;
    const data = encodeName(`${name}.${zoneOf(network.name)}`);
    return authoritative(
      rcode.NOERROR,
      asked === type.PTR || asked === type.ANY ? [{ type: type.PTR, data }] : [],
      settings.ttl,
    );
  }
  return networks.some((network) => network.holds(address))
    ? authoritative(rcode.NXDOMAIN, [], settings.ttl)
    : undefined;
}

const reverse4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa$/u;
const reverse6 = /^((?:[0-9a-f]\.){32})ip6\.arpa$/u;

/**
 * Returns the address of a reverse name (RFC 1035, section 3.5; RFC 3596, section 2.5), or undefined if it is
 * not the name of a complete address.
 */
export function reverseAddress(name: string): Uint8Array | undefined {
  if (!name.endsWith('.arpa')) return undefined;
  const four = reverse4.exec(name);
  if (four !== null) {
    const bytes = four.slice(1).toReversed().map(Number);
    return bytes.every((byte) => byte <= 255) ? Uint8Array.from(bytes) : undefined;
  }
  const six = reverse6.exec(name);
  return six?.[1] === undefined
    ? undefined
    : Buffer.from(six[1].replaceAll('.', '').split('').toReversed().join(''), 'hex');
}
