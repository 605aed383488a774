import type { Destination, ServerKey, VirtualServer } from '../model/model.ts';
import type { Expanded, Placed } from './expand.ts';

/**
 * A destination whose connections end because it drains, was removed or is unhealthy. Its established
 * connections may go on until a fixed time. That time is stored, so that a restart neither forgets nor
 * prolongs it.
 */
export interface Drain {
  readonly address: string;
  readonly port: number;
  /** Milliseconds since 1970. */
  readonly until: number;
  /** The drain is over: connections were ended, and the kernel no longer holds the destination. */
  readonly over: boolean;
}

/** The state of one virtual server: the server as it was last passed to the kernel, and its drains. */
export interface Standing {
  readonly server: VirtualServer;
  readonly drains: readonly Drain[];
  /** The grace period of the service that holds the server, or held it last. */
  readonly graceSeconds: number;
}

type Place = Pick<Destination, 'address' | 'port'>;

const idOf = ({ address, port }: Place): string => `${address} ${port}`;

/**
 * Returns the state that follows from the previous state and the wanted one. Returns undefined when nothing
 * is left of the server and it leaves the kernel. Pure.
 * @param before absent: the virtual server is new
 * @param wanted absent: no service holds it any more, and its established connections end
 * @param graceSeconds the grace period of the service that holds it; absent: of the service that held it
 * @param forgetsGone a destination that is not wanted any more leaves the kernel at once
 */
export function settle(
  before: Standing | undefined,
  wanted: Expanded | undefined,
  now: number,
  graceSeconds: number = before?.graceSeconds ?? 0,
  forgetsGone = false,
): Standing | undefined {
  if (before === undefined && wanted !== undefined && isPlain(wanted.destinations))
    return { server: { ...wanted, destinations: wanted.destinations.map(bare) }, drains: [], graceSeconds };
  const longest = now + graceSeconds * 1000;
  const earlier = new Map((before?.drains ?? []).map((drain) => [idOf(drain), drain]));
  const drainOf = (place: Place): Drain => {
    const found = earlier.get(idOf(place));
    // A shorter grace period also applies to drains that have begun, and so does a clock that was set back.
    if (found !== undefined) return found.over ? found : { ...found, until: Math.min(found.until, longest) };
    return { address: place.address, port: place.port, until: longest, over: false };
  };
  const described = new Map(
    (wanted?.destinations ?? []).map((destination) => [idOf(destination), destination]),
  );
  const ending = [...described.values()].filter((each) => each.ending).map(drainOf);
  const stood = new Map<string, Place>(
    (forgetsGone ? [] : [...(before?.server.destinations ?? []), ...earlier.values()]).map((place) => [
      idOf(place),
      place,
    ]),
  );
  const gone = [...stood.values()]
    .filter((place) => !described.has(idOf(place)))
    .map(drainOf)
    .filter(({ over }) => !over);
  const base = wanted ?? before?.server;
  if (base === undefined || (wanted === undefined && gone.length === 0)) return undefined;
  const over = new Set(ending.filter((each) => each.over).map(idOf));
  const destinations: Destination[] = [
    ...[...described.values()].filter((each) => !over.has(idOf(each))).map(bare),
    ...gone.map(({ address, port }) => ({ address, port, weight: 0 })),
  ];
  return { server: { ...base, destinations }, drains: [...ending, ...gone], graceSeconds };
}

const bare = ({ address, port, weight, insideWeight }: Placed): Destination =>
  insideWeight === undefined ? { address, port, weight } : { address, port, weight, insideWeight };

/** A comparison of each with each is cheap for this many. */
const fewPlaces = 8;

/**
 * Whether none of the destinations ends, and they are few and differ, as in nearly every server that is new.
 * Names of all places would take most of the time of {@link settle} there.
 */
const isPlain = (all: readonly Placed[]): boolean =>
  all.length <= fewPlaces &&
  all.every(
    ({ address, port, ending }, at) =>
      !ending && all.findIndex((other) => other.address === address && other.port === port) === at,
  );

/** Returns the drains that are due now, by virtual server. */
export function dueOf(
  standings: ReadonlyMap<ServerKey, Standing>,
  keys: Iterable<ServerKey>,
  now: number,
): { key: ServerKey; drains: Drain[] }[] {
  return [...keys].flatMap((key) => {
    const drains = (standings.get(key)?.drains ?? []).filter(({ over, until }) => !over && until <= now);
    return drains.length === 0 ? [] : [{ key, drains }];
  });
}

/**
 * Returns the virtual servers with a drain that would last longer than its grace period from now on: the
 * clock was set back since it began. {@link settle} shortens it.
 */
export const prolongedOf = (
  standings: ReadonlyMap<ServerKey, Pick<Standing, 'drains' | 'graceSeconds'>>,
  keys: Iterable<ServerKey>,
  now: number,
): ServerKey[] =>
  [...keys].filter((key) => {
    const existing = standings.get(key);
    if (existing === undefined) return false;
    const longest = now + existing.graceSeconds * 1000;
    return existing.drains.some(({ over, until }) => !over && until > longest);
  });

/** Returns the state with these drains over: their destinations leave the virtual server. */
export function withOver(existing: Standing, ended: readonly Place[]): Standing {
  const over = new Set(ended.map(idOf));
  return {
    ...existing,
    server: {
      ...existing.server,
      destinations: existing.server.destinations.filter((each) => !over.has(idOf(each))),
    },
    drains: existing.drains.map((each) => (over.has(idOf(each)) ? { ...each, over: true } : each)),
  };
}
