import { bitsOf, formatIp, networkOf, parseIp, parsePrefix } from '../spec/address.ts';
import { prefixText } from './settings.ts';

/** What stands in etcd, below `/portcullis/overlay/NAME/`: values are JSON. Pure. */

/** What a host says of itself, under `hosts/NAME`, for as long as its lease lasts. */
export interface HostRecord {
  /** Made once by the host; tells it apart from another one of the same name. */
  readonly id: string;
  /** What others send to. */
  readonly underlay: string;
  /** Of its end of the VXLAN. A host has this or the next: what encrypts takes nothing that is not. */
  readonly vxlan?: VxlanEnd;
  readonly wireguard?: WireguardEnd;
  /** What a packet of its pods may have. */
  readonly mtu: number;
}

export interface VxlanEnd {
  readonly mac: string;
  readonly port: number;
}

/** Public keys, as base64. */
export interface WireguardEnd {
  readonly publicKey: string;
  /** That of the next change. */
  readonly nextKey: string;
  readonly port: number;
}

/** Whose a subnet is, under `subnets/10.128.1.0-24`, until it is given back. */
export interface Claim {
  readonly host: string;
  readonly id: string;
}

/** What all hosts must agree on, under `network`. */
export interface SharedSettings {
  readonly networks: readonly { readonly prefix: string; readonly hostLength: number }[];
  readonly vni: number;
}

export type Key =
  | { readonly kind: 'host'; readonly host: string }
  | { readonly kind: 'subnet'; readonly subnet: string }
  | { readonly kind: 'service'; readonly name: string }
  /** Of a service that pods join, and of which host it is said. */
  | { readonly kind: 'virtual'; readonly service: string }
  | { readonly kind: 'holder' | 'members'; readonly service: string; readonly host: string }
  | { readonly kind: 'port'; readonly port: string }
  | { readonly kind: 'other' };

export interface Keys {
  readonly all: string;
  readonly network: string;
  host(name: string): string;
  /** @param subnet canonical, `10.128.1.0/24` */
  subnet(subnet: string): string;
  service(name: string): string;
  /** Of services that pods join: `network-services/records.ts`. */
  virtual(service: string): string;
  /** @param host absent: the beginning of all hosts' */
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

function readKey(key: string): Key {
  const [, folder = '', name = ''] = /^([a-z]+)\/(.+)$/su.exec(key) ?? [];
  switch (folder) {
    case 'hosts':
      return { kind: 'host', host: name };
    case 'services':
      return { kind: 'service', name };
    case 'subnets':
      return { kind: 'subnet', subnet: name.replace(/-(?=\d+$)/u, '/') };
    case 'virtual':
      return { kind: 'virtual', service: name };
    case 'ports':
      return { kind: 'port', port: name };
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

const isPort = (value: unknown): value is number => Number.isInteger(value) && Number(value) > 0 && Number(value) < 65_536;
const isKey = (value: unknown): value is string =>
  typeof value === 'string' && /^[A-Za-z0-9+/]{43}=$/u.test(value) && Buffer.from(value, 'base64').toString('base64') === value;
const isMac = (value: unknown): value is string => typeof value === 'string' && /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/u.test(value);

/** Undefined: it is no object of JSON. */
export function objectOf(bytes: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(bytes.toString());
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** Undefined: it is none. Whatever else stands in it, as of a later version, is passed over. */
export function readHost(bytes: Buffer): HostRecord | undefined {
  const { id, underlay, vxlan, wireguard, mtu } = objectOf(bytes) ?? {};
  const address = typeof underlay === 'string' ? parseIp(underlay) : undefined;
  if (typeof id !== 'string' || address === undefined || typeof mtu !== 'number' || mtu < 576 || mtu > 65_535) return undefined;
  // One that says both would be sent to by either.
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

/** Canonical; undefined: it is no subnet. */
export function readSubnet(text: string): string | undefined {
  const prefix = parsePrefix(text);
  if (prefix === undefined || prefix.length === 0 || prefix.length > bitsOf(prefix.address.family)) return undefined;
  return networkOf(prefix).value === prefix.address.value ? prefixText(prefix) : undefined;
}
