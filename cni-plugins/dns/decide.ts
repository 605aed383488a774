import { namesDomain, zoneOf } from '../spec/domain.ts';
import { encodeName, rcode, type, classIn } from './message.ts';
import type { Answer, Query, Reply } from './message.ts';

/** What is answered to whom: a function of the question and of what the asker sees. Pure. */

/** A network as one asker sees it. */
export interface SeenNetwork {
  readonly name: string;
  /** CIDR containment of an address of 4 or 16 bytes. */
  holds(address: Uint8Array): boolean;
  /**
   * What stands behind a name in lower case; empty: nothing.
   * @param asked `whole`: the name is all that was asked, so that one with a dot may be a name of elsewhere; absent: the network stood behind it
   */
  endpoints(name: string, asked?: 'whole'): readonly Endpoint[];
  /** The name to which an address belongs. */
  nameOf(address: Uint8Array): string | undefined;
}

export interface Endpoint {
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  readonly kind: 'container' | 'alias' | 'service';
  /** Of a bare name that another namespace than the asker's chose: other name servers go before it. */
  readonly ofOthers?: true;
}

export interface ZoneSettings {
  /** Seconds that an answer may be kept. */
  readonly ttl: number;
}

/** `unlessElsewhere`: the reply where no other name server has the name. */
export type Decision = Reply | 'forward' | { readonly unlessElsewhere: Reply };

/** RFC 6895, section 3.1: types that are about the transfer of a zone or a message, not about a name. */
const isMetaType = (asked: number): boolean => asked > 128 && asked < type.ANY;

/** @param networks in the order in which they are asked: the first that knows the name answers */
export function decide(query: Query, networks: readonly SeenNetwork[], settings: ZoneSettings): Decision {
  if (query.edns !== undefined && query.edns.version !== 0) return bare(rcode.BADVERS);
  if (query.class !== classIn || isMetaType(query.type)) return bare(rcode.REFUSED);
  const own = query.name === undefined ? undefined : ownReply(query.name, query.type, networks, settings);
  if (own !== undefined) return 'unlessElsewhere' in own && !query.wantsRecursion ? own.unlessElsewhere : own;
  // A recursive answer for who did not ask for one would be somebody else's cache, read.
  return query.wantsRecursion ? 'forward' : bare(rcode.REFUSED);
}

const bare = (code: number): Reply => ({ rcode: code, answers: [], ttl: 0, authoritative: false });

/** Undefined: it is nothing that these networks could know. */
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
    // Also what other networks have: who is not on them learns nothing, and nobody outside is asked.
    return authoritative(rcode.NXDOMAIN, [], ttl, labelsOf(namesDomain));
  }
  // RFC 6761, section 6.3: the asker's own, whatever a pod is called.
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

/** A denial that holds of the name alone carries no zone: the name is the asker's own shorthand. */
function authoritative(code: number, answers: readonly Answer[], ttl: number, zoneLabels?: number): Reply {
  return { rcode: code, answers, ttl, authoritative: true, ...(answers.length === 0 && zoneLabels !== undefined && { zoneLabels }) };
}

/** A service stands before the containers and aliases of its name: its address is a virtual one, or those that it chose. */
function preferred(endpoints: readonly Endpoint[]): readonly Endpoint[] {
  const services = endpoints.filter(({ kind }) => kind === 'service');
  return services.length > 0 ? services : endpoints;
}

function addressAnswers(endpoints: readonly Endpoint[], asked: number): Answer[] {
  const records = endpoints.map(({ address }) => ({ type: address.length === 4 ? type.A : type.AAAA, data: address }));
  // RFC 8482: whoever asks for everything gets one kind of record.
  const wanted = asked !== type.ANY ? asked : records.some((record) => record.type === type.A) ? type.A : type.AAAA;
  return records.filter((record) => record.type === wanted);
}

/** Another order each time, so that load spreads over clients that take the first. */
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

function reverseReply(address: Uint8Array, asked: number, networks: readonly SeenNetwork[], settings: ZoneSettings): Reply | undefined {
  for (const network of networks) {
    const name = network.nameOf(address);
    if (name === undefined) continue;
    const data = encodeName(`${name}.${zoneOf(network.name)}`);
    return authoritative(rcode.NOERROR, asked === type.PTR || asked === type.ANY ? [{ type: type.PTR, data }] : [], settings.ttl);
  }
  return networks.some((network) => network.holds(address)) ? authoritative(rcode.NXDOMAIN, [], settings.ttl) : undefined;
}

const reverse4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa$/u;
const reverse6 = /^((?:[0-9a-f]\.){32})ip6\.arpa$/u;

/** RFC 1035 section 3.5, RFC 3596 section 2.5. Undefined: it is the name of no whole address. */
export function reverseAddress(name: string): Uint8Array | undefined {
  if (!name.endsWith('.arpa')) return undefined;
  const four = reverse4.exec(name);
  if (four !== null) {
    const bytes = four.slice(1).toReversed().map(Number);
    return bytes.every((byte) => byte <= 255) ? Uint8Array.from(bytes) : undefined;
  }
  const six = reverse6.exec(name);
  return six?.[1] === undefined ? undefined : Buffer.from(six[1].replaceAll('.', '').split('').toReversed().join(''), 'hex');
}
