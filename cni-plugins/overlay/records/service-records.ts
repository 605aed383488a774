import { formatIp, parseIp } from '../../../base/addresses/index.ts';
import type { MemberPort } from '../../spec/memberships.ts';
import { objectOf, readClaim } from './records.ts';
import type { Claim } from './records.ts';

/**
 * Records of hosts in etcd about services that pods join: `../records.ts` names the keys, and values are
 * JSON. Pure.
 *
 * | fact                    | says                                                            | until                                        |
 * | ----------------------- | --------------------------------------------------------------- | -------------------------------------------- |
 * | `virtual/SERVICE`       | {@link VirtualRecord}, of the host that said so first           | no host holds the service                    |
 * | `holders/SERVICE/HOST`  | {@link Holding}: the host has members of it                     | they left, or the host is released           |
 * | `members/SERVICE/HOST`  | {@link HostMembers}                                             | the host's lease ends                        |
 * | `ports/tcp-30080`       | {@link ServiceClaim}: whose this ingress port is                | no holder of that service has it             |
 * | `addresses/10.128.9.7`  | {@link ServiceClaim}: whose virtual address                     | no host holds the service                    |
 */

/** A service on all hosts. Each host that holds it writes the same record. */
export interface VirtualRecord {
  readonly mode: 'vip' | 'dnsrr';
  /**
   * The namespace of the first member. Absent when a host of an earlier version wrote it; no member of this
   * version joins it.
   */
  readonly owner?: string;
  /** Virtual addresses, at most one per family; empty with `dnsrr`. */
  readonly addresses: readonly string[];
}

/**
 * A host that has members, or had members when it was cut off. Resources of the service are not given to
 * another service meanwhile.
 */
export interface Holding extends Claim {
  /** `tcp-30080`. */
  readonly ingressPorts: readonly string[];
}

export interface HostMembers {
  readonly members: readonly PublishedMember[];
}

/** A member as other hosts see it. */
export interface PublishedMember {
  /** Id of its container or pod. */
  readonly id: string;
  /** The namespace of its pod. Absent when its host has an earlier version; then it belongs to no service. */
  readonly owner?: string;
  readonly addresses: readonly string[];
  /** Whether it accepts connections. */
  readonly isReady: boolean;
  readonly aliases: readonly string[];
  readonly ports: readonly MemberPort[];
  readonly ingressPorts: readonly MemberPort[];
}

export interface ServiceClaim {
  readonly service: string;
}

/** Holder of subnets for virtual addresses. No host can have this name. */
export const addressHolder = '(services)';

export const portText = ({ protocol, port }: Pick<MemberPort, 'port' | 'protocol'>): string =>
  `${protocol}-${port}`;

/** Names as on networks; a service's name is one label. */
export const serviceName = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/u;
const portName = /^(?:tcp|udp|sctp)-([1-9]\d{0,4})$/u;
export const isPortText = (text: string): boolean => Number(portName.exec(text)?.[1] ?? 65_536) < 65_536;
/** Limits that are higher than any host needs, so that data of other writers stays bounded. */
const most = { members: 1024, aliases: 16, ports: 64, addresses: 8 } as const;

const listOf = (value: unknown, atMost: number): readonly unknown[] | undefined =>
  Array.isArray(value) && value.length <= atMost ? (value as unknown[]) : undefined;

/** Returns undefined when one of them cannot be read. */
function each<Read>(
  value: unknown,
  atMost: number,
  read: (one: unknown) => Read | undefined,
): Read[] | undefined {
  const found = listOf(value, atMost)?.map(read);
  return found?.every((one) => one !== undefined) === true ? found : undefined;
}

const addressIn = (value: unknown): string | undefined => {
  const parsed = typeof value === 'string' ? parseIp(value) : undefined;
  return parsed && formatIp(parsed);
};
const isPort = (value: unknown): value is number =>
  Number.isInteger(value) && Number(value) > 0 && Number(value) < 65_536;

function portIn(value: unknown): MemberPort | undefined {
  const { protocol, port, targetPort } = (value ?? {}) as Partial<MemberPort>;
  if (
    (protocol !== 'tcp' && protocol !== 'udp' && protocol !== 'sctp') ||
    !isPort(port) ||
    !isPort(targetPort)
  )
    return undefined;
  return { protocol, port, targetPort };
}

/**
 * Returns undefined when it is not a record. Unknown fields, as of a later version, are ignored. The same
 * applies to the other readers.
 */
export function readVirtual(bytes: Buffer): VirtualRecord | undefined {
  const { mode, addresses, owner } = objectOf(bytes) ?? {};
  const read = each(addresses, most.addresses, addressIn);
  if ((mode !== 'vip' && mode !== 'dnsrr') || read === undefined || (mode === 'vip') !== read.length > 0)
    return undefined;
  if (owner !== undefined && !isOwner(owner)) return undefined;
  return { mode, ...(owner !== undefined && { owner }), addresses: read };
}

const isOwner = (value: unknown): value is string => typeof value === 'string' && value.length <= 253;

export function readHolding(bytes: Buffer): Holding | undefined {
  const claim = readClaim(bytes);
  const ports = each(objectOf(bytes)?.['ingressPorts'], most.members * most.ports, (port) =>
    typeof port === 'string' && isPortText(port) ? port : undefined,
  );
  return claim === undefined || ports === undefined ? undefined : { ...claim, ingressPorts: ports };
}

export function readServiceClaim(bytes: Buffer): ServiceClaim | undefined {
  const { service } = objectOf(bytes) ?? {};
  return typeof service === 'string' && serviceName.test(service) ? { service } : undefined;
}

export function readMembers(bytes: Buffer): HostMembers | undefined {
  const members = each(objectOf(bytes)?.['members'], most.members, memberIn);
  return members && { members };
}

function memberIn(value: unknown): PublishedMember | undefined {
  const { id, owner, addresses, isReady, aliases, ports, ingressPorts } = (value ?? {}) as Partial<
    Record<keyof PublishedMember, unknown>
  >;
  const read = {
    addresses: each(addresses, most.addresses, addressIn),
    aliases: each(aliases, most.aliases, (alias) =>
      typeof alias === 'string' && serviceName.test(alias) ? alias : undefined,
    ),
    ports: each(ports, most.ports, portIn),
    ingressPorts: each(ingressPorts, most.ports, portIn),
  };
  if (typeof id !== 'string' || id.length > 256 || typeof isReady !== 'boolean') return undefined;
  if (owner !== undefined && !isOwner(owner)) return undefined;
  if (!read.addresses || !read.aliases || !read.ports || !read.ingressPorts) return undefined;
  const given = owner !== undefined && { owner };
  return {
    id,
    ...given,
    isReady,
    addresses: read.addresses,
    aliases: read.aliases,
    ports: read.ports,
    ingressPorts: read.ingressPorts,
  };
}
