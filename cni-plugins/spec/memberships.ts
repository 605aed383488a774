import { parseJson } from '../../base/json/index.ts';
import { PortcullisError, reasonOf, orThrow } from '../../base/errors/index.ts';
import { formatIp, parseIp } from '../../base/addresses/index.ts';

/**
 * The services that an endpoint declares membership of when it joins a network. The fields are libnetwork's
 * endpoint options (ServiceName, VirtualIP, ServiceAliases, IngressPorts) as JSON. A pod's annotation, a
 * label of a docker container and `runtimeConfig.services` have the same form. Pure.
 */
export interface Membership {
  /** A single DNS label, in lower case. */
  readonly name: string;
  /** The network that the membership applies to. Absent: every network that is joined. */
  readonly network?: string;
  /**
   * `vip`: one virtual address, load-balanced over the members; `dnsrr`: the name resolves to the addresses
   * of all members.
   */
  readonly mode: 'vip' | 'dnsrr';
  /** Additional names of the service, in lower case. */
  readonly aliases: readonly string[];
  /** Each maps a port of the virtual address to a port of the member. */
  readonly ports: readonly MemberPort[];
  /** Each maps a port of every host address to a port of the member. */
  readonly ingressPorts: readonly MemberPort[];
  /** Requested addresses of the service. The network chooses any that are not specified. */
  readonly virtualIPs: readonly string[];
}

export interface MemberPort {
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  readonly port: number;
  readonly targetPort: number;
}

/** The key of the pod annotation and of the container label. */
export const membershipLabel = 'portcullis.dev/services';

const most = { services: 16, aliases: 16, ports: 64, addresses: 8 } as const;
const known = ['name', 'network', 'mode', 'aliases', 'ports', 'ingressPorts', 'virtualIPs'] as const;
const label = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/u;
const networkName = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/u;
const portForm = /^(?<port>\d{1,5})(?::(?<target>\d{1,5}))?(?:\/(?<protocol>tcp|udp|sctp))?$/u;

/**
 * Parses memberships from JSON text.
 * @throws NETWORK_SERVICE_MEMBERSHIP_INVALID
 */
export function parseMemberships(text: string, where: string): readonly Membership[] {
  const value: unknown = orThrow(
    () => parseJson(text),
    (thrown) => invalid(where, reasonOf(thrown)),
  );
  return readMemberships(value, where);
}

/**
 * Reads memberships from a JSON value.
 * @throws NETWORK_SERVICE_MEMBERSHIP_INVALID
 */
export function readMemberships(value: unknown, where: string): readonly Membership[] {
  if (!Array.isArray(value)) throw invalid(where, 'it is not a list');
  if (value.length > most.services)
    throw invalid(where, `it has ${value.length} services, and the limit is ${most.services}`);
  const read = value.map((each: unknown, index) => readOne(each, `${where}[${index}]`));
  read.forEach(({ name, network }, index) => {
    const twin = read.findIndex(
      (other) => other.name === name && (other.network ?? network) === (network ?? other.network),
    );
    if (twin !== index) throw invalid(`${where}[${index}].name`, `${name} occurs twice`);
  });
  return read;
}

/** Returns the memberships that apply to a network. */
export const membershipsOn = (all: readonly Membership[], network: string): readonly Membership[] =>
  all.filter((each) => each.network === undefined || each.network === network);

function readOne(value: unknown, where: string): Membership {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid(where, 'it is not an object');
  const fields = value as Readonly<Record<string, unknown>>;
  const other = Object.keys(fields).find((field) => !known.some((each) => each === field));
  if (other !== undefined)
    throw invalid(`${where}.${other.slice(0, 100)}`, `it is not a known field: ${known.join(', ')}`);
  const fail = (field: string, why: string): never => {
    throw invalid(`${where}.${field}`, why);
  };
  const shown = (given: unknown): string =>
    (given === undefined ? 'nothing' : JSON.stringify(given)).slice(0, 100);
  const nameIn = (field: string, given: unknown): string =>
    typeof given === 'string' && label.test(given.toLowerCase())
      ? given.toLowerCase()
      : fail(field, `${shown(given)} is not a label of a name: letters, digits and dashes, 63 at most`);
  const listIn = (field: (typeof known)[number], atMost: number): readonly unknown[] => {
    const given = fields[field] ?? [];
    if (!Array.isArray(given)) return fail(field, 'it is not a list');
    return given.length > atMost
      ? fail(field, `it has ${given.length} elements, and the limit is ${atMost}`)
      : (given as unknown[]);
  };
  const portsIn = (field: 'ports' | 'ingressPorts'): MemberPort[] => {
    const ports = listIn(field, most.ports).map(
      (given, index) =>
        portOf(given) ??
        fail(`${field}[${index}]`, `${shown(given)} is not PORT, PORT:TARGET or PORT:TARGET/PROTOCOL`),
    );
    ports.forEach((port, index) => {
      const twin = ports.findIndex((each) => each.protocol === port.protocol && each.port === port.port);
      if (twin !== index) fail(`${field}[${index}]`, `${port.port}/${port.protocol} occurs twice`);
    });
    return ports;
  };
  const name = nameIn('name', fields['name']);
  const { network, mode = 'vip' } = fields;
  if (network !== undefined && (typeof network !== 'string' || !networkName.test(network)))
    fail('network', `${shown(network)} is not a name of a network`);
  if (mode !== 'vip' && mode !== 'dnsrr') return fail('mode', `${shown(mode)} is not vip or dnsrr`);
  const [ports, ingressPorts] = [portsIn('ports'), portsIn('ingressPorts')];
  const virtualIPs = listIn('virtualIPs', most.addresses).map((given, index) => {
    const address = typeof given === 'string' ? parseIp(given) : undefined;
    return address === undefined
      ? fail(`virtualIPs[${index}]`, `${shown(given)} is not an IP address`)
      : formatIp(address);
  });
  if (mode === 'vip' && ports.length + ingressPorts.length === 0)
    fail(
      'ports',
      'a virtual address serves only the ports that are named, and none is named; name the ports, or use the mode dnsrr',
    );
  if (mode === 'dnsrr' && ingressPorts.length > 0)
    fail('ingressPorts', 'the mode dnsrr has no virtual service to balance them; use the mode vip');
  if (mode === 'dnsrr' && virtualIPs.length > 0) fail('virtualIPs', 'the mode dnsrr has none');
  return {
    name,
    ...(typeof network === 'string' && { network }),
    mode,
    aliases: listIn('aliases', most.aliases).map((given, index) => nameIn(`aliases[${index}]`, given)),
    ports,
    ingressPorts,
    virtualIPs,
  };
}

function portOf(given: unknown): MemberPort | undefined {
  const parts = portForm.exec(
    typeof given === 'number' ? String(given) : typeof given === 'string' ? given : '',
  )?.groups;
  if (parts === undefined) return undefined;
  const port = Number(parts['port']);
  const targetPort = Number(parts['target'] ?? parts['port']);
  if ([port, targetPort].some((number) => number < 1 || number > 65_535)) return undefined;
  return { protocol: (parts['protocol'] ?? 'tcp') as MemberPort['protocol'], port, targetPort };
}

function invalid(where: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_SERVICE_MEMBERSHIP_INVALID',
    kind: 'invalid',
    attempted: 'read the services of a network to join',
    on: where,
    why,
    fix: 'give a JSON list such as [{"name": "web", "ports": ["80:8080/tcp"]}]: docs/services.md#services-of-a-network',
  });
}
