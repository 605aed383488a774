import {
  goesBack,
  hashed,
  numbered,
  portUnreachable,
  remember,
  resetTcp,
  connection,
  constant,
  destinationIsLocal,
  differs,
  equals,
  inSet,
  mapped,
  masked,
  masquerade,
  meta,
  payload,
  register,
  setMeta,
  translateDestination,
  verdict,
  verdictOf,
} from '../../../base/netlink/index.ts';
import type { Chain, DataType, NamedSet, Table } from '../../../base/netlink/index.ts';
import type { Family } from '../model/model.ts';
import { maglevSlotsIn } from '../slots/maglev.ts';
import { mostSlots, slotSizes } from '../slots/sizes.ts';
import {
  backendsSetOf,
  dropOfBackend,
  rememberBackend,
  toUnknownSegments,
  unknownSegmentsChain,
} from '../unknown-segments/rules.ts';
import { rangeSetsOf, sourceRulesOf, sourcesChain } from '../source-ranges/rules.ts';

/**
 * The rules, as values. They are constant, whatever is served. For the first packet of a connection, a map
 * gives the mode of the virtual server, and a second map gives the chain of the mode. The chain computes a
 * number (the next one, a random one, or a hash), which finds the destination in a third map. Pure. See
 * docs/services.md.
 */

/** How a connection to a virtual server gets its destination. */
export interface Mode {
  /** Node ports are looked up without the address. */
  readonly at: 'address' | 'node';
  /** Number of slots, 1 to 1024. */
  readonly size: number;
  readonly draw: Draw;
  /** A client is remembered for this many seconds since its last new connection. */
  readonly hold?: number;
  readonly masquerade: boolean;
  /** Only clients in the server's source ranges may connect. */
  readonly restricted: boolean;
}

/**
 * `turn` and a number: a counter of its own. The hashes use the client's address, with or without the port.
 */
export type Draw = `turn${number}` | 'random' | 'client' | 'clientport' | 'maglevclient' | 'maglevclientport';

/** Returns the name of the mode's chain. {@link modeOf} parses it. */
export function chainOf({ at, size, draw, hold, masquerade: hides, restricted }: Mode): string {
  return `pick_${at}_${size}_${draw}${hold === undefined ? '' : `_hold${hold}`}${hides ? '_masquerade' : ''}${restricted ? '_restricted' : ''}`;
}

const chainForm =
  /^pick_(address|node)_(\d+)_(turn\d+|random|client|clientport|maglevclient|maglevclientport)(?:_hold(\d+))?(_masquerade)?(_restricted)?$/u;

export function modeOf(chain: string): Mode | undefined {
  const [, at, size, draw, hold, hides, restricted] = chainForm.exec(chain) ?? [];
  if (at === undefined || size === undefined || draw === undefined) return undefined;
  return {
    at: at as Mode['at'],
    size: Number(size),
    draw: draw as Draw,
    ...(hold === undefined ? {} : { hold: Number(hold) }),
    masquerade: hides !== undefined,
    restricted: restricted !== undefined,
  };
}

/** The chain of a mode with `hold`, for a client that is held. */
const againChainOf = (mode: Mode): string => `again_${chainOf(mode)}`;

/** Returns all chains of a mode. The first one is the chain to which the others jump. */
export const chainsOf = (mode: Mode): readonly string[] =>
  mode.hold === undefined ? [chainOf(mode)] : [againChainOf(mode), chainOf(mode)];

export const refuseChain = 'refuse';
/** Refuses clients inside the source ranges, and drops the others. */
export const restrictedRefuseChain = 'refuse_restricted';

export const tableOf = (family: Family): Table => ({
  family: family === 4 ? 'ip' : 'ip6',
  name: 'portcullis_services',
});

/** After connection tracking (-200) and before host ports (-100), so that a service's port wins. */
const beforeHostPorts = -105;
const beforeOtherMasquerade = 95;

/**
 * Bits in the mark of a connection's first packet, from the choice until it leaves the host: we chose its
 * destination; its source must become ours.
 */
const chosenMark = 0x20000000;
const hiddenMark = 0x40000000;

const host32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
};
const loopback6 = Buffer.from([...Array<number>(15).fill(0), 1]);
const CT_NEW = 1 << 3;
const [TCP, UDP, SCTP] = [6, 17, 132];

interface Layout {
  readonly ip: 'ip' | 'ip6';
  readonly address: DataType;
  /** Length of an address, in registers. */
  readonly width: number;
  readonly source: (to: number) => Buffer;
  readonly destination: (to: number) => Buffer;
}

const layouts: Readonly<Record<Family, Layout>> = {
  4: {
    ip: 'ip',
    address: 'ipv4_addr',
    width: 1,
    source: (to) => payload('network', 12, 4, to),
    destination: (to) => payload('network', 16, 4, to),
  },
  6: {
    ip: 'ip6',
    address: 'ipv6_addr',
    width: 4,
    source: (to) => payload('network', 8, 16, to),
    destination: (to) => payload('network', 24, 16, to),
  },
};

const portFrom = (to: number): Buffer => payload('transport', 0, 2, to);
const portTo = (to: number): Buffer => payload('transport', 2, 2, to);

/** Returns the map that has the slots of a server with this many. */
export const slotMap = (size: number): string =>
  `slots${slotSizes.find((each) => each >= size) ?? mostSlots}`;

/** Returns the definition of {@link slotMap}. */
export function slotSetOf(family: Family, size: number): NamedSet {
  const { address } = layouts[family];
  return {
    name: slotMap(size),
    key: [address, 'inet_proto', 'inet_service', 'mark'],
    data: [address, 'inet_service'],
  };
}

/** The most remembered clients: as many as connection tracking holds by default on a large host. */
const mostHeld = 262_144;

export function setsOf(family: Family): readonly NamedSet[] {
  const { address } = layouts[family];
  const server = [address, 'inet_proto', 'inet_service'] as const;
  return [
    { name: 'servers', key: server, data: ['mark'] },
    { name: 'nodes', key: ['inet_proto', 'inet_service'], data: ['mark'] },
    { name: 'modes', key: ['mark'], data: 'verdict' },
    ...slotSizes.map((size) => slotSetOf(family, size)),
    // Maps to the slot, not the destination: if the destination is lost, the client goes to the new owner of
    // the slot.
    { name: 'held', key: [address, ...server], data: ['mark'], dynamic: { atMost: mostHeld } },
    backendsSetOf(family),
    { name: 'addresses', key: [address] },
    { name: 'protocols', key: ['inet_proto'] },
    ...rangeSetsOf(family),
  ];
}

export const protocolKeys: readonly Buffer[] = [TCP, UDP, SCTP].map((number) => Buffer.of(number));

export const baseChains: readonly Chain[] = [
  { name: 'prerouting', hook: { type: 'nat', number: 0, priority: beforeHostPorts } },
  { name: 'output', hook: { type: 'nat', number: 3, priority: beforeHostPorts } },
  { name: 'forward', hook: { type: 'filter', number: 2, priority: -10 } },
  { name: 'input', hook: { type: 'filter', number: 1, priority: -10 } },
  { name: 'postrouting', hook: { type: 'nat', number: 4, priority: beforeOtherMasquerade } },
  { name: 'balance' },
  { name: 'node_ports' },
  { name: 'mode' },
  { name: 'leaving' },
  { name: unknownSegmentsChain },
  { name: sourcesChain },
  { name: refuseChain },
  { name: restrictedRefuseChain },
];

export interface ChainRule {
  readonly chain: string;
  readonly expressions: readonly Buffer[];
}

const has = (bit: number): readonly Buffer[] => [
  meta('mark', register(0)),
  masked(register(0), host32(bit)),
  differs(register(0), host32(0)),
];
const mark = (scratch: number, bits: number): readonly Buffer[] => [
  meta('mark', scratch),
  masked(scratch, host32(~bits), scratch, host32(bits)),
  setMeta('mark', scratch),
];
const unmark = (scratch: number): readonly Buffer[] => [
  meta('mark', scratch),
  masked(scratch, host32(~(chosenMark | hiddenMark))),
  setMeta('mark', scratch),
];

/**
 * The mode's number is passed in the packet's priority, which routing sets again. nft 1.0.6 cannot list a
 * rule that looks up in one map what it found in another: it aborts, whatever else it had to list.
 */
const toMode: readonly Buffer[] = [setMeta('priority', register(0)), verdict({ goto: 'mode' })];

export function baseRulesOf(family: Family): readonly ChainRule[] {
  const { ip, width, destination, source } = layouts[family];
  const r0 = register(0);
  const rule = (chain: string, ...expressions: readonly Buffer[]): ChainRule => ({ chain, expressions });
  return [
    rule('prerouting', verdict({ jump: 'balance' })),
    rule('output', verdict({ jump: 'balance' })),
    rule(
      'balance',
      destination(r0),
      meta('l4proto', register(width)),
      portTo(register(width + 1)),
      mapped('servers', r0, r0),
      ...toMode,
    ),
    rule('mode', meta('priority', r0), verdictOf('modes', r0)),
    // A packet to ::1 cannot leave the host, whatever its destination becomes. A packet to 127.0.0.1 can,
    // with route_localnet.
    rule(
      'balance',
      ...(family === 6 ? [destination(r0), differs(r0, loopback6)] : []),
      ...destinationIsLocal(r0),
      verdict({ goto: 'node_ports' }),
    ),
    // An unserved port at a service's address: the packet would be routed on, and come back.
    rule(
      'balance',
      destination(r0),
      inSet('addresses', r0),
      meta('l4proto', r0),
      inSet('protocols', r0),
      verdict({ goto: refuseChain }),
    ),
    rule('node_ports', meta('l4proto', r0), portTo(register(1)), mapped('nodes', r0, r0), ...toMode),
    rule(refuseChain, meta('l4proto', r0), equals(r0, Buffer.of(TCP)), resetTcp()),
    rule(refuseChain, portUnreachable(ip)),
    rule(restrictedRefuseChain, verdict({ jump: sourcesChain })),
    rule(restrictedRefuseChain, verdict({ goto: refuseChain })),
    ...sourceRulesOf(family).map((expressions) => rule(sourcesChain, ...expressions)),
    ...['forward', 'input'].map((chain) => rule(chain, ...toUnknownSegments)),
    rule(unknownSegmentsChain, ...dropOfBackend(family)),
    // An unknown segment of a client is not translated either.
    rule(unknownSegmentsChain, destination(r0), inSet('addresses', r0), verdict('drop')),
    // The packet leaves by the link that it came in by: the answer would not come back through us (from the
    // backend itself, or one beside it).
    rule(
      'forward',
      connection('state', undefined, r0),
      masked(r0, host32(CT_NEW)),
      differs(r0, host32(0)),
      ...has(chosenMark),
      goesBack(r0),
      equals(r0, Buffer.of(1)),
      ...mark(r0, hiddenMark),
    ),
    rule('postrouting', ...has(chosenMark), verdict({ goto: 'leaving' })),
    rule('leaving', ...rememberBackend(family)),
    rule('leaving', ...has(hiddenMark), ...unmark(r0), masquerade()),
    ...(family === 4
      ? [
          rule(
            'leaving',
            source(r0),
            masked(r0, Buffer.of(255, 0, 0, 0)),
            equals(r0, Buffer.of(127, 0, 0, 0)),
            ...unmark(r0),
            masquerade(),
          ),
        ]
      : []),
    rule('leaving', ...unmark(r0)),
  ];
}

/**
 * Returns the rules of a mode's chain. Registers: client, server (address, protocol, port), then the slot.
 * The destination overlays the slot.
 */
export function modeRulesOf(family: Family, mode: Mode): readonly ChainRule[] {
  const picking = pickingRulesOf(family, mode);
  return mode.restricted
    ? [{ chain: chainOf(mode), expressions: [verdict({ jump: sourcesChain })] }, ...picking]
    : picking;
}

function pickingRulesOf(family: Family, mode: Mode): readonly ChainRule[] {
  const { ip, width, source, destination } = layouts[family];
  const chain = chainOf(mode);
  const client = register(0);
  const server = register(width);
  const slot = register(2 * width + 2);
  const port = register(3 * width + 2);
  const key = [
    source(client),
    mode.at === 'address' ? destination(server) : constant(Buffer.alloc(4 * width), server),
    meta('l4proto', register(2 * width)),
    portTo(register(2 * width + 1)),
  ];
  const draw = [...key, ...drawn(mode, width, slot)];
  const go = [
    mapped(slotMap(mode.size), server, slot),
    constant(Buffer.alloc(4), client),
    setMeta('priority', client),
    ...mark(client, chosenMark | (mode.masquerade ? hiddenMark : 0)),
    translateDestination(ip, slot, port),
  ];
  // The number of slots changed between two lookups for one packet. Without its destination the packet would
  // leave with the virtual address, and so would the whole connection. The client repeats a lost packet.
  const lost = { chain, expressions: [verdict('drop')] };
  if (mode.hold === undefined) return [{ chain, expressions: [...draw, ...go] }, lost];
  const time = { key: client, value: slot, milliseconds: mode.hold * 1000 };
  const again = againChainOf(mode);
  return [
    {
      chain,
      expressions: [
        ...key,
        mapped('held', client, slot),
        setMeta('priority', slot),
        verdict({ goto: again }),
      ],
    },
    { chain, expressions: [...draw, remember('add', 'held', time), ...go] },
    // The set of held clients is full: the client is served all the same.
    { chain, expressions: [...draw, ...go] },
    lost,
    { chain: again, expressions: [...key, meta('priority', slot), remember('refresh', 'held', time), ...go] },
    // The entry expired between the two lookups.
    { chain: again, expressions: [...draw, ...go] },
    { ...lost, chain: again },
  ];
}

function drawn({ draw, size }: Mode, width: number, slot: number): readonly Buffer[] {
  const after = slot + width;
  const client = register(0);
  const modulus = draw.startsWith('maglev') ? maglevSlotsIn(size) : size;
  if (draw === 'random') return [numbered('random', modulus, slot)];
  if (draw === 'client' || draw === 'maglevclient') return [hashed(client, 4 * width, modulus, slot)];
  if (draw === 'clientport' || draw === 'maglevclientport') {
    const { source } = layouts[width === 1 ? 4 : 6];
    return [source(slot), portFrom(after), hashed(slot, 4 * width + 4, modulus, slot)];
  }
  return [numbered('next', modulus, slot)];
}
