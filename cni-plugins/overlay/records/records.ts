import { parseJson } from '../../../base/json/index.ts';
import { bitsOf, formatIp, networkOf, parseIp, parsePrefix } from '../../../base/addresses/index.ts';
import { isHostName, prefixText } from './settings.ts';

/**
 * The keys in etcd, below `/portcullis/overlay/NAME/`: values are JSON. Pure.
 *
 * `network` and `services/` are an administrator's. All that a host says is below `hosts/HOST/`, where its
 * role may write and no other host's:
 *
 * | key below `hosts/HOST/`      | says                                                                         | until                     |
 * | ---------------------------- | ---------------------------------------------------------------------------- | ------------------------- |
 * | `record`                     | {@link HostRecord}                                                           | its lease ends            |
 * | `identity/mac-…`, `key-…`, `underlay-…` | that this MAC address, public key, address is its own             | its record has another    |
 * | `subnets/10.128.1.0-24`      | {@link OwnClaim}: its subnet                                                 | it leaves, or is released |
 * | `shared/10.128.9.0-24`       | that virtual addresses of services are of this subnet                        | it leaves, or is released |
 * | `virtual/SERVICE/RECORD`     | that the service is this one: a VirtualRecord in base64url                   | it has no members of it   |
 * | `addresses/ADDRESS/SERVICE`  | that the service has the virtual address                                     | it has no members of it   |
 * | `ports/tcp-30080/SERVICE`    | that the service has the ingress port                                        | it has no members of it   |
 * | `holders/SERVICE`            | Holding: it has members of the service                                       | it has no members of it   |
 * | `members/SERVICE`            | HostMembers                                                                  | its lease ends            |
 *
 * A resource that two hosts may compete for is named in the key itself. It belongs to the host whose key was
 * created first (create revision): no later write changes what a key claims.
 * `ownership.ts` reads all of them into the facts that {@link Keys} names. Hosts of the former version wrote
 * these facts as keys themselves.
 */

/** A host's record, under `hosts/NAME`, for as long as its lease lasts. */
export interface HostRecord {
  /** Generated once by the host. Distinguishes it from another host of the same name. */
  readonly id: string;
  /** The address to which other hosts send. */
  readonly underlay: string;
  /**
   * The host's end of the VXLAN. A host has either this or `wireguard`: a host that encrypts accepts no
   * unencrypted packets.
   */
  readonly vxlan?: VxlanEnd;
  readonly wireguard?: WireguardEnd;
  /** The largest packet that its pods may send. */
  readonly mtu: number;
}

export interface VxlanEnd {
  readonly mac: string;
  readonly port: number;
}

/** Public keys, as base64. */
export interface WireguardEnd {
  readonly publicKey: string;
  /** The public key of the next change. */
  readonly nextKey: string;
  readonly port: number;
}

/** A host's claim of a subnet. */
export interface OwnClaim {
  readonly id: string;
}

/** The holder of a subnet. */
export interface Claim {
  readonly host: string;
  readonly id: string;
}

/** Settings that must be the same on all hosts, under `network`. */
export interface SharedSettings {
  readonly networks: readonly { readonly prefix: string; readonly hostLength: number }[];
  readonly vni: number;
}

export type Key =
  | { readonly kind: 'host'; readonly host: string }
  | { readonly kind: 'subnet'; readonly subnet: string }
  | { readonly kind: 'service'; readonly name: string }
  /** A service that pods join, and the host that the key is about. */
  | { readonly kind: 'virtual'; readonly service: string }
  | { readonly kind: 'holder' | 'members'; readonly service: string; readonly host: string }
  | { readonly kind: 'port'; readonly port: string }
  | { readonly kind: 'address'; readonly address: string }
  | { readonly kind: 'other' };

/** The keys that a host writes. No other host writes them. */
export interface OwnKeys {
  /** The common prefix of all of them. */
  readonly all: string;
  readonly record: string;
  /** Prefixes of the keys of one kind. */
  readonly identities: string;
  readonly subnets: string;
  readonly holders: string;
  identity(value: string): string;
  /** @param subnet canonical, `10.128.1.0/24` */
  subnet(subnet: string): string;
  shared(subnet: string): string;
  /** @param record as bytes of JSON */
  virtual(service: string, record: Buffer): string;
  address(address: string, service: string): string;
  port(port: string, service: string): string;
  holder(service: string): string;
  members(service: string): string;
}

/** A key below `hosts/HOST/`. */
export interface OwnKey {
  readonly host: string;
  readonly kind:
    | 'record'
    | 'identity'
    | 'subnets'
    | 'shared'
    | 'virtual'
    | 'addresses'
    | 'ports'
    | 'holders'
    | 'members';
  /** The part after the kind; empty for `record`. */
  readonly name: string;
  /** The part after the name; empty where there is none. */
  readonly of: string;
}

/**
 * Facts by name, as the hosts' keys together define them. `network` and `services/` are keys of etcd. The
 * others were keys too for hosts of the former version.
 */
export interface Keys {
  readonly all: string;
  /** Returns the keys that a host writes. */
  own(host: string): OwnKeys;
  /** Returns undefined when it is not a key of a host. */
  readOwn(key: string): OwnKey | undefined;
  readonly network: string;
  host(name: string): string;
  /** @param subnet canonical, `10.128.1.0/24` */
  subnet(subnet: string): string;
  service(name: string): string;
  /** Services that pods join: see `overlay/network-services`. */
  virtual(service: string): string;
  /** @param host absent: returns the prefix of all hosts' keys */
  holder(service: string, host?: string): string;
  members(service: string, host: string): string;
  /** @param port `tcp-30080` */
  port(port: string): string;
  address(address: string): string;
  read(key: string): Key;
}

export function keysOf(network: string): Keys {
  const all = `/portcullis/overlay/${network}/`;
  return {
    all,
    own: (host) => ownKeysOf(`${all}hosts/${host}/`),
    readOwn: (key) =>
      key.startsWith(`${all}hosts/`) ? readOwnKey(key.slice(all.length + 'hosts/'.length)) : undefined,
    network: `${all}network`,
    host: (name) => `${all}hosts/${name}`,
    subnet: (subnet) => `${all}subnets/${subnet.replace('/', '-')}`,
    service: (name) => `${all}services/${name}`,
    virtual: (service) => `${all}virtual/${service}`,
    holder: (service, host = '') => `${all}holders/${service}/${host}`,
    members: (service, host) => `${all}members/${service}/${host}`,
    port: (port) => `${all}ports/${port}`,
    address: (address) => `${all}addresses/${address}`,
    read: (key) => (key.startsWith(all) ? readKey(key.slice(all.length)) : { kind: 'other' }),
  };
}

function ownKeysOf(all: string): OwnKeys {
  const subnetText = (subnet: string): string => subnet.replace('/', '-');
  return {
    all,
    record: `${all}record`,
    identities: `${all}identity/`,
    subnets: `${all}subnets/`,
    holders: `${all}holders/`,
    identity: (value) => `${all}identity/${value}`,
    subnet: (subnet) => `${all}subnets/${subnetText(subnet)}`,
    shared: (subnet) => `${all}shared/${subnetText(subnet)}`,
    virtual: (service, record) => `${all}virtual/${service}/${record.toString('base64url')}`,
    address: (address, service) => `${all}addresses/${address}/${service}`,
    port: (port, service) => `${all}ports/${port}/${service}`,
    holder: (service) => `${all}holders/${service}`,
    members: (service) => `${all}members/${service}`,
  };
}

const ownKinds: ReadonlySet<string> = new Set<OwnKey['kind']>([
  'record',
  'identity',
  'subnets',
  'shared',
  'virtual',
  'addresses',
  'ports',
  'holders',
  'members',
]);
const named: ReadonlySet<string> = new Set<OwnKey['kind']>(['virtual', 'addresses', 'ports']);

/** @param key after `hosts/` */
function readOwnKey(key: string): OwnKey | undefined {
  const [host = '', kind = '', name = '', of = '', ...more] = key.split('/', 5);
  if (!isHostName(host) || !ownKinds.has(kind) || more.length > 0) return undefined;
  if ((kind === 'record') !== (name === '') || named.has(kind) !== (of !== '')) return undefined;
  return {
    host,
    kind: kind as OwnKey['kind'],
    name: kind === 'subnets' || kind === 'shared' ? name.replace(/-(?=\d+$)/u, '/') : name,
    of,
  };
}

/**
 * Returns what only one host can have: the values by which other hosts send to it and accept packets from it.
 */
export function identitiesOf({ underlay, vxlan, wireguard }: HostRecord): string[] {
  const keyText = (key: string): string => `key-${Buffer.from(key, 'base64').toString('base64url')}`;
  return [
    `underlay-${underlay}`,
    ...(vxlan === undefined ? [] : [`mac-${vxlan.mac}`]),
    ...(wireguard === undefined ? [] : [keyText(wireguard.publicKey), keyText(wireguard.nextKey)]),
  ];
}

function readKey(key: string): Key {
  const [, folder = '', name = ''] = /^([a-z]+)\/(.+)$/su.exec(key) ?? [];
  switch (folder) {
    case 'hosts':
      return isHostName(name) ? { kind: 'host', host: name } : { kind: 'other' };
    case 'services':
      return { kind: 'service', name };
    case 'subnets':
      return { kind: 'subnet', subnet: name.replace(/-(?=\d+$)/u, '/') };
    case 'virtual':
      return { kind: 'virtual', service: name };
    case 'ports':
      return { kind: 'port', port: name };
    case 'addresses':
      return { kind: 'address', address: name };
    case 'holders':
    case 'members': {
      const [, service, host] = /^([^/]+)\/([^/]+)$/su.exec(name) ?? [];
      if (service === undefined || host === undefined) return { kind: 'other' };
      return { kind: folder === 'holders' ? 'holder' : 'members', service, host };
    }
    default:
      return { kind: 'other' };
  }
}

export const encode = (value: object): Buffer => Buffer.from(JSON.stringify(value));

const isPort = (value: unknown): value is number =>
  Number.isInteger(value) && Number(value) > 0 && Number(value) < 65_536;
const isMtu = (value: unknown): value is number =>
  Number.isInteger(value) && Number(value) >= 576 && Number(value) <= 65_535;
const isKey = (value: unknown): value is string =>
  typeof value === 'string' &&
  /^[A-Za-z0-9+/]{43}=$/u.test(value) &&
  Buffer.from(value, 'base64').toString('base64') === value;
/** The second digit of a group address is odd. The kernel replaces no forwarding entry of such an address. */
const isMac = (value: unknown): value is string =>
  typeof value === 'string' &&
  /^[0-9a-f][02468ace](?::[0-9a-f]{2}){5}$/u.test(value) &&
  value !== '00:00:00:00:00:00';

/** Returns undefined when it is not a JSON object. */
export function objectOf(bytes: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = parseJson(bytes.toString());
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

/** Returns undefined when it is not a record. Unknown fields, as of a later version, are ignored. */
export function readHost(bytes: Buffer): HostRecord | undefined {
  const { id, underlay, vxlan, wireguard, mtu } = objectOf(bytes) ?? {};
  const address = typeof underlay === 'string' ? parseIp(underlay) : undefined;
  if (typeof id !== 'string' || address === undefined || !isMtu(mtu)) return undefined;
  // A record with both would allow packets with and without encryption.
  if ((vxlan === undefined) === (wireguard === undefined)) return undefined;
  const end = wireguard === undefined ? readVxlan(vxlan) : readWireguardEnd(wireguard);
  return end === undefined ? undefined : { id, underlay: formatIp(address), mtu, ...end };
}

function readVxlan(value: unknown): { readonly vxlan: VxlanEnd } | undefined {
  const { mac, port } = (value ?? {}) as Partial<VxlanEnd>;
  return isMac(mac) && isPort(port) ? { vxlan: { mac, port } } : undefined;
}

function readWireguardEnd(value: unknown): { readonly wireguard: WireguardEnd } | undefined {
  const { publicKey, nextKey, port } = (value ?? {}) as Partial<WireguardEnd>;
  return isKey(publicKey) && isKey(nextKey) && publicKey !== nextKey && isPort(port)
    ? { wireguard: { publicKey, nextKey, port } }
    : undefined;
}

export function readClaim(bytes: Buffer): Claim | undefined {
  const { host, id } = objectOf(bytes) ?? {};
  return typeof host === 'string' && typeof id === 'string' ? { host, id } : undefined;
}

/** Returns undefined when it cannot be read. */
export function readShared(bytes: Buffer): SharedSettings | undefined {
  const { networks, vni } = objectOf(bytes) ?? {};
  if (typeof vni !== 'number' || !Array.isArray(networks)) return undefined;
  const read = (networks as unknown[]).map(
    (each) => (each ?? {}) as Partial<SharedSettings['networks'][number]>,
  );
  return read.every(({ prefix, hostLength }) => typeof prefix === 'string' && typeof hostLength === 'number')
    ? { networks: read as SharedSettings['networks'], vni }
    : undefined;
}

/** Returns the canonical form; undefined when it is not a subnet. */
export function readSubnet(text: string): string | undefined {
  const prefix = parsePrefix(text);
  if (prefix === undefined || prefix.length === 0 || prefix.length > bitsOf(prefix.address.family))
    return undefined;
  return networkOf(prefix).value === prefix.address.value ? prefixText(prefix) : undefined;
}
