import { createHash, hash } from 'node:crypto';
import type { ChainLink } from '../calls/chain.types.ts';
import type { ChainedPlugin } from '../spec/network-config.ts';
import type { CniResult } from '../spec/result.ts';
import { bareType } from '../calls/plugin-type.ts';
import type { Attachment, AttachRequest, LinkClass, LinkRules, PortMapping } from '../types.ts';

/**
 * `attaching`: the intent is durable, the kernel may have any part of it, and it was not reported to any
 * caller. `ready`: it exists. `detaching`: it is being removed; its address stays leased until the kernel has
 * released the link.
 */
export type AttachmentState = 'attaching' | 'ready' | 'detaching';

/** One attachment as the database stores it. */
export interface AttachmentRecord {
  readonly id: string;
  readonly state: AttachmentState;
  readonly class: LinkClass;
  readonly rules: LinkRules;
  readonly spec: AttachmentSpec;
}

/** Everything that is needed to create the attachment in the kernel, or to recreate it. It never changes. */
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
    /** Addresses of the bridge itself, in CIDR form; none if it is not a gateway. */
    readonly addresses: readonly string[];
    readonly hairpin: boolean;
    readonly promiscuous: boolean;
  };
  /** IPv4 first. */
  readonly addresses: readonly {
    readonly ip: string;
    readonly prefixLength: number;
    readonly gateway: string;
  }[];
  readonly routes: readonly { readonly dst: string; readonly gw?: string }[];
  readonly portMappings: readonly PortMapping[];
  /** Masquerade connections to a host port that come from the host itself or from a pod. */
  readonly snat: boolean;
  /** Masquerade traffic to other networks. */
  readonly masquerade: boolean;
  /** In CIDR form. */
  readonly subnets: readonly string[];
  /** Plugins after the bridge; absent in records of older versions. */
  readonly chained?: readonly ChainedPlugin[];
  /**
   * Interfaces that chains of plugins create, in their order. The first one is the pod's first interface if
   * this engine does not create it itself.
   */
  readonly chains?: readonly ChainLink[];
  /**
   * For a first interface that a chain created: its host's end is known, and our rules apply to it as to one
   * of ours.
   */
  readonly held?: boolean;
  /** Its host's end is not a port of a bridge: the host routes to it. */
  readonly routed?: boolean;
  /** The pod has its own network stack, which removes the addresses from its end. */
  readonly ownStack?: boolean;
  /** A plugin of ours created the link for another runtime, which does not send the pod's labels. */
  readonly ofOtherRuntime?: true;
  /** Additional interfaces to which our rules apply in the same way. */
  readonly further?: readonly HeldLink[];
  /** The ports that such a chain forwards; `portMappings` are those of our own rules. */
  readonly forwarded?: readonly PortMapping[];
}

/** The attachment of a link that no plugin has created yet: every address, route and port is unknown. */
export const linkToBeMade = {
  mac: '',
  mtu: 0,
  bridge: { name: '', mac: '', addresses: [], hairpin: false, promiscuous: false },
  addresses: [],
  routes: [],
  portMappings: [],
  snat: false,
  masquerade: false,
  subnets: [],
} satisfies Partial<AttachmentSpec>;

/** Returns whether a chain of plugins created the pod's first interface. */
export const isByChain = ({ chains, interface: name }: AttachmentSpec): boolean =>
  chains?.[0]?.interface === name;

/**
 * Returns whether our rules can be applied to the link. They can, except for links of chains whose host's end
 * cannot be determined.
 */
export const isHeld = (spec: AttachmentSpec): boolean => !isByChain(spec) || spec.held === true;

/** One interface of a pod to whose host's end our rules apply. */
export interface HeldLink extends Pick<AttachmentSpec, 'addresses' | 'hostInterface' | 'mac' | 'network'> {
  /** The bridge of which the host's end is a port. Absent: the host routes to it. */
  readonly bridge?: AttachmentSpec['bridge'];
}

/** Returns all links of the pod to which our rules apply, its first interface first. */
export const heldLinks = (spec: AttachmentSpec): readonly HeldLink[] => {
  const { network, hostInterface, mac, addresses, bridge, routed, further = [] } = spec;
  if (!isHeld(spec)) return further;
  return [{ network, hostInterface, mac, addresses, ...(routed !== true && { bridge }) }, ...further];
};

/**
 * Returns whether the pod has a link to which our rules cannot be applied. A class or rule that would apply
 * to only some of the pod's links is refused.
 */
export const hasUnheldLink = (spec: AttachmentSpec): boolean =>
  heldLinks(spec).length < (spec.chains?.length ?? 0) + (isByChain(spec) ? 0 : 1);

/** Returns the name of the host's end of an interface that a plugin of ours creates. */
export const pluginInterfaceOf = (network: string, containerId: string, name: string): string =>
  hostInterfaceOf(`${network}\0${containerId}\0${name}`);

/**
 * Returns the links of the host that belong to this attachment, or will when its plugins have created them.
 */
export const claimedLinks = ({ id, spec }: Pick<AttachmentRecord, 'id' | 'spec'>): readonly string[] => [
  spec.hostInterface,
  ...(spec.further ?? []).map(({ hostInterface }) => hostInterface),
  ...(spec.chains ?? []).map((link) => pluginInterfaceOf(link.network, id, link.interface)),
];

/** Returns whether the host routes, or may come to route, to one of its links. */
export const mayBeRouted = (spec: AttachmentSpec): boolean =>
  heldLinks(spec).some(({ bridge }) => bridge === undefined) ||
  (spec.chains ?? []).some(({ list }) => list.plugins.some(({ type }) => bareType(type) === 'ptp'));

/**
 * Our links have one of these groups (`ip link` shows them) from creation: `pc` in ASCII, then their type.
 */
export const linkGroups = {
  pod: 0x70630001,
  bridge: 0x70630002,
  deleting: 0x70630003,
  plugin: 0x70630004,
  routed: 0x70630005,
} as const;

/**
 * Returns the alias of the links of a root (`ip link` shows it). The daemon of another root does not remove
 * them.
 */
export const tagOf = (rootId: string): string => `portcullis:${rootId}`;

export const hostInterfacePrefix = 'pc';

/** Returns the name of the host's end: at most 15 characters, always the same for the same id. */
export function hostInterfaceOf(id: string): string {
  const hex = /^[0-9a-f]{64}$/u.test(id) ? id : hash('sha256', id);
  return `${hostInterfacePrefix}${hex.slice(0, 12)}`;
}

/**
 * Derives a locally administered MAC from the address, so that an address that is leased again has the MAC
 * that its neighbours know.
 * @param address 4 or 16 bytes
 */
export function macOf(address: Uint8Array): string {
  const tail =
    address.length === 4
      ? Buffer.from(address)
      : createHash('sha256').update(address).digest().subarray(0, 4);
  return `0a:58:${tail.toString('hex').replace(/..(?=.)/gu, '$&:')}`;
}

export function macBytes(mac: string): Buffer {
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}

/** Returns the description of the interface that chained plugins receive. */
export function resultOf({ spec }: AttachmentRecord): CniResult {
  return {
    interfaces: [
      { name: spec.bridge.name, mac: spec.bridge.mac },
      { name: spec.hostInterface },
      { name: spec.interface, mac: spec.mac, mtu: spec.mtu, sandbox: spec.netns },
    ],
    ips: spec.addresses.map(({ ip, prefixLength, gateway }) => ({
      interface: 2,
      address: `${ip}/${prefixLength}`,
      gateway,
    })),
    routes: spec.routes,
    dns: {},
  };
}

/** Returns the attachment as the callers of the engine see it. */
export function attachmentOf(record: AttachmentRecord): Attachment {
  const { spec } = record;
  return {
    id: record.id,
    network: spec.network,
    interface: { name: spec.interface, mac: spec.mac, sandbox: spec.netns, mtu: spec.mtu },
    hostInterface: isHeld(spec) ? spec.hostInterface : '',
    ips: spec.addresses.map(({ ip, prefixLength, gateway }) => ({
      address: `${ip}/${prefixLength}`,
      ...(gateway !== '' && { gateway }),
    })),
    routes: spec.routes,
    class: record.class,
    portMappings: spec.forwarded ?? spec.portMappings,
  };
}
