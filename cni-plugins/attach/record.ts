import { createHash, hash } from 'node:crypto';
import type { ChainLink } from '../invoke/chain.types.ts';
import type { ChainedPlugin } from '../spec/network-config.ts';
import type { CniResult } from '../spec/result.ts';
import { bareType } from './plugin-type.ts';
import type { Attachment, AttachRequest, LinkClass, LinkRules, PortMapping } from '../types.ts';

/**
 * `attaching`: intent is durable, the kernel may hold any part of it, nobody was told. `ready`: it stands.
 * `detaching`: it is going; its address stays leased until the kernel has let go of the link.
 */
export type AttachmentState = 'attaching' | 'ready' | 'detaching';

/** One attachment as the database holds it. */
export interface AttachmentRecord {
  readonly id: string;
  readonly state: AttachmentState;
  readonly class: LinkClass;
  readonly rules: LinkRules;
  readonly spec: AttachmentSpec;
}

/** Everything that is needed to make the attachment in the kernel, or to make it again; it never changes. */
export interface AttachmentSpec {
  readonly network: string;
  readonly pod: AttachRequest['pod'];
  readonly netns: string;
  readonly hostInterface: string;
  readonly interface: string;
  readonly mac: string;
  readonly mtu: number;
  readonly bridge: {
    readonly name: string;
    readonly mac: string;
    /** Addresses of the bridge itself, as CIDR; none when it is no gateway. */
    readonly addresses: readonly string[];
    readonly hairpin: boolean;
    readonly promiscuous: boolean;
  };
  /** IPv4 first. */
  readonly addresses: readonly { readonly ip: string; readonly prefixLength: number; readonly gateway: string }[];
  readonly routes: readonly { readonly dst: string; readonly gw?: string }[];
  readonly portMappings: readonly PortMapping[];
  /** Masquerade connections to a host port that come from the host itself or from a pod. */
  readonly snat: boolean;
  /** Masquerade what leaves for other networks. */
  readonly masquerade: boolean;
  /** CIDR each. */
  readonly subnets: readonly string[];
  /** Plugins after the bridge; absent in records of older versions. */
  readonly chained?: readonly ChainedPlugin[];
  /** Interfaces that chains of plugins make, in their order; the first is the pod's first one where this engine does not make it itself. */
  readonly chains?: readonly ChainLink[];
  /** Of a first interface that a chain made: its host's end is known, and held by our rules like one of ours. */
  readonly held?: boolean;
  /** Its host's end is no port of a bridge: the host routes to it. */
  readonly routed?: boolean;
  /** Interfaces beside the first that are held in the same way. */
  readonly further?: readonly HeldLink[];
  /** What such a chain forwards; `portMappings` is what our own rules do. */
  readonly forwarded?: readonly PortMapping[];
}

/** Whether a chain of plugins made the pod's first interface. */
export const isByChain = ({ chains, interface: name }: AttachmentSpec): boolean => chains?.[0]?.interface === name;

/** Whether our rules know the link: all but what a chain made in a way in which the host's end can not be told. */
export const isHeld = (spec: AttachmentSpec): boolean => !isByChain(spec) || spec.held === true;

/** One interface of a pod whose host's end our rules hold. */
export interface HeldLink extends Pick<AttachmentSpec, 'addresses' | 'hostInterface' | 'mac' | 'network'> {
  /** That the host's end is a port of; absent: the host routes to it. */
  readonly bridge?: AttachmentSpec['bridge'];
}

/** All that our rules hold of the pod, its first interface first. */
export const heldLinks = (spec: AttachmentSpec): readonly HeldLink[] => {
  const { network, hostInterface, mac, addresses, bridge, routed, further = [] } = spec;
  if (!isHeld(spec)) return further;
  return [{ network, hostInterface, mac, addresses, ...(routed !== true && { bridge }) }, ...further];
};

/** Whether the pod has a link that our rules do not know, first or beside the first: a class or rule that holds for one only is none. */
export const hasUnheldLink = (spec: AttachmentSpec): boolean =>
  heldLinks(spec).length < (spec.chains?.length ?? 0) + (isByChain(spec) ? 0 : 1);

/** Name of the host's end of an interface that a plugin of ours makes. */
export const pluginInterfaceOf = (network: string, containerId: string, name: string): string =>
  hostInterfaceOf(`${network}\0${containerId}\0${name}`);

/** Links of the host that are this attachment's, or will be when its plugins have made them. */
export const claimedLinks = ({ id, spec }: Pick<AttachmentRecord, 'id' | 'spec'>): readonly string[] => [
  spec.hostInterface,
  ...(spec.further ?? []).map(({ hostInterface }) => hostInterface),
  ...(spec.chains ?? []).map((link) => pluginInterfaceOf(link.network, id, link.interface)),
];

/** Whether the host routes, or may come to route, to one of its links. */
export const mayBeRouted = (spec: AttachmentSpec): boolean =>
  heldLinks(spec).some(({ bridge }) => bridge === undefined) ||
  (spec.chains ?? []).some(({ list }) => list.plugins.some(({ type }) => bareType(type) === 'ptp'));

/** Links of ours carry one of these groups (`ip link` shows them) from birth: `pc` in ASCII, then what they are. */
export const linkGroups = { pod: 0x70630001, bridge: 0x70630002, doomed: 0x70630003, plugin: 0x70630004, routed: 0x70630005 } as const;

/** Alias of links that are a root's (`ip link` shows it): no other root's daemon removes them. */
export const tagOf = (rootId: string): string => `portcullis:${rootId}`;

export const hostInterfacePrefix = 'pc';

/** The name of the host's end: at most 15 characters, the same for the same id. */
export function hostInterfaceOf(id: string): string {
  const hex = /^[0-9a-f]{64}$/u.test(id) ? id : hash('sha256', id);
  return `${hostInterfacePrefix}${hex.slice(0, 12)}`;
}

/**
 * A locally administered MAC made of the address, so that an address that is leased again has the MAC that its neighbours know.
 * @param address 4 or 16 bytes
 */
export function macOf(address: Uint8Array): string {
  const tail = address.length === 4 ? Buffer.from(address) : createHash('sha256').update(address).digest().subarray(0, 4);
  return `0a:58:${tail.toString('hex').replace(/..(?=.)/gu, '$&:')}`;
}

export function macBytes(mac: string): Buffer {
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}

/** What the chained plugins are told of the interface. */
export function resultOf({ spec }: AttachmentRecord): CniResult {
  return {
    interfaces: [
      { name: spec.bridge.name, mac: spec.bridge.mac },
      { name: spec.hostInterface },
      { name: spec.interface, mac: spec.mac, mtu: spec.mtu, sandbox: spec.netns },
    ],
    ips: spec.addresses.map(({ ip, prefixLength, gateway }) => ({ interface: 2, address: `${ip}/${prefixLength}`, gateway })),
    routes: spec.routes,
    dns: {},
  };
}

/** What the callers of the engine see. */
export function attachmentOf(record: AttachmentRecord): Attachment {
  const { spec } = record;
  return {
    id: record.id,
    network: spec.network,
    interface: { name: spec.interface, mac: spec.mac, sandbox: spec.netns, mtu: spec.mtu },
    hostInterface: isHeld(spec) ? spec.hostInterface : '',
    ips: spec.addresses.map(({ ip, prefixLength, gateway }) => ({ address: `${ip}/${prefixLength}`, ...(gateway !== '' && { gateway }) })),
    routes: spec.routes,
    class: record.class,
    portMappings: spec.forwarded ?? spec.portMappings,
  };
}
