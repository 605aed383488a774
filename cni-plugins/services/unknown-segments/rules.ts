import {
  remember,
  connection,
  differs,
  equals,
  inSet,
  masked,
  meta,
  payload,
  register,
  verdict,
  u32,
} from '../../../base/netlink/index.ts';
import type { NamedSet } from '../../../base/netlink/index.ts';
import type { Family } from '../model/model.ts';

/**
 * Keeps segments of no known connection, such as a late retransmission, from clients. No rule translates such
 * a segment back, and a client that gets it from the backend's own address answers with a reset, which ends
 * the backend's connection. Values only. Segments that do not belong to a service are left alone.
 */
export const unknownSegmentsChain = 'invalid';

/** Address, protocol and port of each backend to which a connection was balanced. */
export const backendsSet = 'backends';

/** Longer than connection tracking keeps an established connection without packets (5 days). */
const backendDays = 7;
export const backendMilliseconds = backendDays * 86_400_000;

/** As many as connection tracking holds connections by default on a large host. */
const mostBackends = 262_144;

const CT_INVALID = 1;
const TCP = 6;
const TCP_SYN = 0x02;
const r0 = register(0);

export const backendsSetOf = (family: Family): NamedSet => ({
  name: backendsSet,
  key: [family === 4 ? 'ipv4_addr' : 'ipv6_addr', 'inet_proto', 'inet_service'],
  dynamic: { atMost: mostBackends },
});

/** Loads the address, protocol and port of one end of a packet, from `register(0)` on. */
function endOf(family: Family, end: 'source' | 'destination'): readonly Buffer[] {
  const size = family === 4 ? 4 : 16;
  const first = family === 4 ? 12 : 8;
  return [
    payload('network', end === 'source' ? first : first + size, size, r0),
    meta('l4proto', register(size / 4)),
    payload('transport', end === 'source' ? 0 : 2, 2, register(size / 4 + 1)),
  ];
}

/** Remembers the backend that was chosen for a packet. Does nothing if the set is full. */
export const rememberBackend = (family: Family): readonly Buffer[] => [
  ...endOf(family, 'destination'),
  remember('refresh', backendsSet, { key: r0, milliseconds: backendMilliseconds }),
];

/**
 * For chains of `forward` and `input`, where every packet that a balancer translates is already translated.
 */
export const toUnknownSegments: readonly Buffer[] = [
  connection('state', undefined, r0),
  masked(r0, u32(CT_INVALID)),
  differs(r0, u32(0)),
  verdict({ jump: unknownSegmentsChain }),
];

/** Matches a segment that begins no connection. Tracking takes it for a new one if it knows none. */
export const isTcpWithoutSyn: readonly Buffer[] = [
  meta('l4proto', r0),
  equals(r0, Buffer.of(TCP)),
  payload('transport', 13, 1, r0),
  masked(r0, Buffer.of(TCP_SYN)),
  equals(r0, Buffer.of(0)),
];

/** Returns a rule of {@link unknownSegmentsChain}. */
export const dropOfBackend = (family: Family): readonly Buffer[] => [
  ...endOf(family, 'source'),
  inSet(backendsSet, r0),
  verdict('drop'),
];
