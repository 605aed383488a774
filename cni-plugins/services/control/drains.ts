import type { Destination, ServerKey, VirtualServer } from '../model.ts';
import type { Expanded } from './expand.ts';

/**
 * Destinations whose connections end: they drain, were removed, or are unwell. Each has a moment until which what stands there may go on. It is
 * written down, so that a restart neither forgets nor prolongs it.
 */
export interface Drain {
  readonly address: string;
  readonly port: number;
  /** Milliseconds since 1970. */
  readonly until: number;
  /** It is over: connections were ended, and the kernel holds the destination no more. */
  readonly over: boolean;
}

/** What is held of one virtual server: as it was last told to the kernel, and what ends there. */
export interface Standing {
  readonly server: VirtualServer;
  readonly drains: readonly Drain[];
  /** Of the service that has it, or had it last. */
  readonly graceSeconds: number;
}

type Place = Pick<Destination, 'address' | 'port'>;

const idOf = ({ address, port }: Place): string => `${address} ${port}`;

/**
 * From what stood to what shall stand. Pure. Undefined: nothing is left of it, it leaves the kernel.
 * @param before absent: the virtual server is new
 * @param wanted absent: no service has it any more; what stood there ends
 * @param graceSeconds of the service that has it; absent: of the one that had it
 */
export function settle(
  before: Standing | undefined,
  wanted: Expanded | undefined,
  now: number,
  graceSeconds: number = before?.graceSeconds ?? 0,
): Standing | undefined {
  const longest = now + graceSeconds * 1000;
  const earlier = new Map((before?.drains ?? []).map((drain) => [idOf(drain), drain]));
  const drainOf = (place: Place): Drain => {
    const found = earlier.get(idOf(place));
    // A shorter grace, and a clock that was set back, hold for what ends already too.
    if (found !== undefined) return found.over ? found : { ...found, until: Math.min(found.until, longest) };
    return { address: place.address, port: place.port, until: longest, over: false };
  };
  const described = new Map((wanted?.destinations ?? []).map((destination) => [idOf(destination), destination]));
  const ending = [...described.values()].filter((each) => each.ending).map(drainOf);
  const stood = new Map<string, Place>([...(before?.server.destinations ?? []), ...earlier.values()].map((place) => [idOf(place), place]));
  const gone = [...stood.values()]
    .filter((place) => !described.has(idOf(place)))
    .map(drainOf)
    .filter(({ over }) => !over);
  const base = wanted ?? before?.server;
  if (base === undefined || (wanted === undefined && gone.length === 0)) return undefined;
  const over = new Set(ending.filter((each) => each.over).map(idOf));
  const destinations: Destination[] = [
    ...[...described.values()].filter((each) => !over.has(idOf(each))).map(({ address, port, weight }) => ({ address, port, weight })),
    ...gone.map(({ address, port }) => ({ address, port, weight: 0 })),
  ];
  return { server: { ...base, destinations }, drains: [...ending, ...gone], graceSeconds };
}

/** What is due now, by virtual server. */
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

/** With these drains over: their destinations leave the virtual server. */
export function withOver(standing: Standing, ended: readonly Place[]): Standing {
  const over = new Set(ended.map(idOf));
  return {
    ...standing,
    server: { ...standing.server, destinations: standing.server.destinations.filter((each) => !over.has(idOf(each))) },
    drains: standing.drains.map((each) => (over.has(idOf(each)) ? { ...each, over: true } : each)),
  };
}
