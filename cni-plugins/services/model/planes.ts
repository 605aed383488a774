import { keyOf } from './model.ts';
import type { Destination, ServerKey, VirtualServer } from './model.ts';

/**
 * A virtual server with `insideSources` has a second list of destinations, for connections from inside the
 * node. A balancer programs the two lists as two planes, with a key each. Pure.
 */
export interface PlaneServer extends VirtualServer {
  /** Absent: the plane of all connections that do not come from inside. */
  readonly plane?: 'inside';
}

/** The key of a virtual server, or the key with {@link insideKeyOf}. */
export type PlaneKey = ServerKey;

/** Returns the key of the inside plane of a server. */
export const insideKeyOf = (key: ServerKey): PlaneKey => `${key} inside`;

export const isInsideKey = (key: PlaneKey): boolean => key.endsWith(' inside');

export const planeKeyOf = (server: PlaneServer): PlaneKey =>
  server.plane === undefined ? keyOf(server) : insideKeyOf(keyOf(server));

/** The weight of a destination for connections from inside. */
export const insideWeightOf = ({ weight, insideWeight = weight }: Destination): number => insideWeight;

/**
 * Whether connections from inside are balanced separately: they have a destination, and a weight differs from
 * that of other connections.
 */
export const isSplit = ({ insideSources, destinations }: VirtualServer): boolean =>
  insideSources !== undefined &&
  destinations.some((each) => insideWeightOf(each) !== each.weight) &&
  destinations.some((each) => insideWeightOf(each) > 0);

/** Returns the inside plane of a server that {@link isSplit}. Both planes have the same source ranges. */
export function insideOf(server: VirtualServer): PlaneServer {
  const { insideSources: _s, sourceRanges: _r, drops: _d, remembersAs: _a, ...rest } = server;
  const { insideRemembersAs, destinations, ...common } = rest;
  return {
    ...common,
    ...(insideRemembersAs !== undefined && { remembersAs: insideRemembersAs }),
    plane: 'inside',
    destinations: destinations.map((each) => ({
      address: each.address,
      port: each.port,
      weight: insideWeightOf(each),
    })),
  };
}

/** Returns the planes of these servers. */
export const planesOf = (servers: readonly VirtualServer[]): readonly PlaneServer[] =>
  servers.some(isSplit)
    ? servers.flatMap((server) => (isSplit(server) ? [server, insideOf(server)] : [server]))
    : servers;
