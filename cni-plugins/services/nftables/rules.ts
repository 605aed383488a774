import {
  connection,
  constant,
  destinationIsLocal,
  differs,
  equals,
  goesBack,
  hashed,
  inSet,
  mapped,
  masked,
  masquerade,
  meta,
  numbered,
  register,
  remember,
  setMeta,
  translateDestination,
  u32,
  verdict,
  verdictOf,
} from '../../../base/netlink/index.ts';
import type { Chain, NamedSet, Table } from '../../../base/netlink/index.ts';
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
import { insideSourcesOfFamily } from '../source-ranges/inside-sources.ts';
import { emptyModes, emptyRulesOf, lostChain, refuseChain } from './empty-modes.ts';
import { insideChain } from './inside-plane.ts';
import { insideRulesOf } from './inside-rules.ts';
import {
  bridgedMark,
  chosenMark,
  has,
  hiddenMark,
  layouts,
  mark,
  portFrom,
  portTo,
  protocolTo,
  toMode,
  unmark,
} from './packet.ts';

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
  /** Connections from inside the node have destinations of their own. */
  readonly split?: true;
  /** The mode of these destinations. */
  readonly inside?: true;
  /** With `hold`: clients are remembered together with those of another server. */
  readonly shared?: true;
}

/**
 * `turn` and a number: a counter of its own. The hashes use the client's address, with or without the port.
 */
export type Draw = `turn${number}` | 'random' | 'client' | 'clientport' | 'maglevclient' | 'maglevclientport';

/** Returns the name of the mode's chain. {@link modeOf} parses it. */
export function chainOf({
  at,
  size,
  draw,
  hold,
  masquerade: hides,
  restricted,
  split,
  inside,
  shared,
}: Mode): string {
  return `pick_${at}_${size}_${draw}${hold === undefined ? '' : `_hold${hold}`}${hides ? '_masquerade' : ''}${restricted ? '_restricted' : ''}${split === true ? '_split' : ''}${inside === true ? '_inside' : ''}${shared === true ? '_shared' : ''}`;
}

const chainForm =
  /^pick_(address|node)_(\d+)_(turn\d+|random|client|clientport|maglevclient|maglevclientport)(?:_hold(\d+))?(_masquerade)?(_restricted)?(_split)?(_inside)?(_shared)?$/u;

export function modeOf(chain: string): Mode | undefined {
  const [, at, size, draw, hold, hides, restricted, split, inside, shared] = chainForm.exec(chain) ?? [];
  if (at === undefined || size === undefined || draw === undefined) return undefined;
  return {
    at: at as Mode['at'],
    size: Number(size),
    draw: draw as Draw,
    ...(hold === undefined ? {} : { hold: Number(hold) }),
    masquerade: hides !== undefined,
    restricted: restricted !== undefined,
    ...(split !== undefined && { split: true }),
    ...(inside !== undefined && { inside: true }),
    ...(shared !== undefined && { shared: true }),
  };
}

/** Returns the map that leads to the mode. Those of inside are apart: a chain must not lead to itself. */
export const modeMap = ({ inside }: Mode): string => (inside === true ? 'inside_modes' : 'modes');

/** The chain of a mode with `hold`, for a client that is held. */
const againChainOf = (mode: Mode): string => `again_${chainOf(mode)}`;

/** The chain of a mode with `shared`, for a client whose number is known. */
const memoryChainOf = (mode: Mode): string => `memory_${chainOf(mode)}`;

/** Returns all chains of a mode. The last one is the chain to which others jump. */
export const chainsOf = (mode: Mode): readonly string[] => [
  ...(mode.hold === undefined ? [] : [againChainOf(mode)]),
  ...(mode.shared === true ? [memoryChainOf(mode)] : []),
  chainOf(mode),
];

export const tableOf = (family: Family): Table => ({
  family: family === 4 ? 'ip' : 'ip6',
  name: 'portcullis_services',
});

/** After connection tracking (-200) and before host ports (-100), so that a service's port wins. */
const beforeHostPorts = -105;
const beforeOtherMasquerade = 95;

const loopback6 = Buffer.from([...Array<number>(15).fill(0), 1]);
const CT_NEW = 1 << 3;
const [TCP, UDP, SCTP] = [6, 17, 132];

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
    { name: 'inside_modes', key: ['mark'], data: 'verdict' },
    insideSourcesOfFamily(family),
    ...slotSizes.map((size) => slotSetOf(family, size)),
    // Maps to the slot, not the destination: if the destination is lost, the client goes to the new owner of
    // the slot.
    { name: 'held', key: [address, ...server], data: ['mark'], dynamic: { atMost: mostHeld } },
    { name: sharedMap, key: server, data: ['mark'] },
    { name: sharedHeldMap, key: [address, 'mark'], data: ['mark'], dynamic: { atMost: mostHeld } },
    backendsSetOf(family),
    { name: 'addresses', key: [address] },
    { name: 'protocols', key: ['inet_proto'] },
    ...rangeSetsOf(family),
  ];
}

/** Leads from a server to the number under which its clients are in {@link sharedHeldMap}. */
export const sharedMap = 'remembered_as';
/** As `held`, for servers that remember clients together. */
const sharedHeldMap = 'held_together';

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
  { name: insideChain },
  { name: 'inside_servers' },
  { name: 'inside_mode' },
  { name: 'leaving' },
  { name: unknownSegmentsChain },
  { name: sourcesChain },
  ...[...emptyModes.values(), lostChain].map((name) => ({ name })),
];

export interface ChainRule {
  readonly chain: string;
  readonly expressions: readonly Buffer[];
}

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
      ...toMode('mode'),
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
    rule('node_ports', meta('l4proto', r0), portTo(register(1)), mapped('nodes', r0, r0), ...toMode('mode')),
    ...insideRulesOf(family).map(([chain, ...expressions]) => ({ chain, expressions })),
    ...emptyRulesOf(ip).map(([chain, expressions]) => ({ chain, expressions })),
    ...sourceRulesOf(family).map((expressions) => rule(sourcesChain, ...expressions)),
    ...['forward', 'input'].map((chain) => rule(chain, ...toUnknownSegments)),
    rule(unknownSegmentsChain, ...dropOfBackend(family)),
    // An unknown segment of a client is not translated either.
    rule(unknownSegmentsChain, destination(r0), inSet('addresses', r0), verdict('drop')),
    // The packet leaves by the link that it came in by: the answer would not come back through us (from the
    // backend itself, or one beside it), unless the bridge passes us the answer as well.
    rule(
      'forward',
      connection('state', undefined, r0),
      masked(r0, u32(CT_NEW)),
      differs(r0, u32(0)),
      meta('mark', r0),
      masked(r0, u32(chosenMark | bridgedMark)),
      equals(r0, u32(chosenMark)),
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
  const chain = chainOf(mode);
  return [
    ...(mode.restricted ? [{ chain, expressions: [verdict({ jump: sourcesChain })] }] : []),
    ...(mode.split === true ? [{ chain, expressions: [verdict({ jump: insideChain })] }] : []),
    ...pickingRulesOf(family, mode),
  ];
}

function pickingRulesOf(family: Family, mode: Mode): readonly ChainRule[] {
  const { ip, width, source, destination } = layouts[family];
  const chain = chainOf(mode);
  // With `shared`, the number under which the client is remembered comes between client and server.
  const at = mode.shared === true ? width + 1 : width;
  const client = register(0);
  const server = register(at);
  const slot = register(at + width + 2);
  const port = register(at + 2 * width + 2);
  const serverKey = [
    mode.at === 'address' ? destination(server) : constant(Buffer.alloc(4 * width), server),
    ...protocolTo(register(at + width), mode.inside),
    portTo(register(at + width + 1)),
  ];
  const key = [source(client), ...serverKey];
  const number = drawn(mode, width, slot);
  const draw = [...key, ...number];
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
  const [again, memory] = [againChainOf(mode), memoryChainOf(mode)];
  // The set of held clients is full, the slot of the client is gone because its server has fewer than before,
  // or an entry expired between two lookups. The hash keeps the client at one destination all the same.
  const hash = drawn({ ...mode, draw: isMaglev(mode) ? 'maglevclient' : 'client' }, width, slot);
  const served = { chain, expressions: [...key, ...hash, ...go] };
  const to = (next: string): readonly Buffer[] => [setMeta('priority', slot), verdict({ goto: next })];
  const ends = (name: string): readonly ChainRule[] => [
    { ...served, chain: name },
    { ...lost, chain: name },
  ];
  if (mode.shared !== true)
    return [
      { chain, expressions: [...key, mapped('held', client, slot), ...to(again)] },
      { chain, expressions: [...draw, remember('add', 'held', time), ...go] },
      ...ends(chain),
      {
        chain: again,
        expressions: [...key, meta('priority', slot), remember('refresh', 'held', time), ...go],
      },
      ...ends(again),
    ];
  const memoryKey = [source(client), meta('priority', register(width))];
  return [
    { chain, expressions: [...serverKey, mapped(sharedMap, server, slot), ...to(memory)] },
    ...ends(chain),
    {
      chain: memory,
      expressions: [
        ...memoryKey,
        mapped(sharedHeldMap, client, slot),
        // The kernel keeps the value of an element that it refreshes. nft 1.0.6 cannot list a rule that takes
        // it from the lookup. If the entry expired in between, the client is held to the first slot.
        constant(Buffer.alloc(4), port),
        remember('refresh', sharedHeldMap, { ...time, value: port }),
        ...to(again),
      ],
    },
    {
      chain: memory,
      expressions: [...memoryKey, ...serverKey, ...number, remember('add', sharedHeldMap, time), ...go],
    },
    ...ends(memory),
    { chain: again, expressions: [...key, meta('priority', slot), ...go] },
    ...ends(again),
  ];
}

const isMaglev = ({ draw }: Pick<Mode, 'draw'>): boolean => draw.startsWith('maglev');

function drawn({ draw, size }: Mode, width: number, slot: number): readonly Buffer[] {
  const after = slot + width;
  const client = register(0);
  const modulus = isMaglev({ draw }) ? maglevSlotsIn(size) : size;
  if (draw === 'random') return [numbered('random', modulus, slot)];
  if (draw === 'client' || draw === 'maglevclient') return [hashed(client, 4 * width, modulus, slot)];
  if (draw === 'clientport' || draw === 'maglevclientport') {
    const { source } = layouts[width === 1 ? 4 : 6];
    return [source(slot), portFrom(after), hashed(slot, 4 * width + 4, modulus, slot)];
  }
  return [numbered('next', modulus, slot)];
}
