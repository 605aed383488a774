import { planeKeyOf } from '../model/planes.ts';
import type { PlaneKey } from '../model/planes.ts';
import { insideSourcesOf } from '../source-ranges/inside-sources.ts';
import type { IpvsPlane } from './plan.ts';
import { packServer, unpackServer } from '../model/serialized-server.ts';
import type { PackedServer } from '../model/serialized-server.ts';

/**
 * The planes of virtual servers as they were last programmed. Kept as text: there are thousands of servers,
 * and a change affects few of them.
 */
export interface KnownServers {
  readonly size: number;
  keys(): Iterable<PlaneKey>;
  /** Yields one server at a time. */
  servers(): Iterable<IpvsPlane>;
  /** Returns undefined for a server that is not known. */
  get(key: PlaneKey): IpvsPlane | undefined;
  /** Returns the known ones of these servers. */
  of(keys: Iterable<PlaneKey>): IpvsPlane[];
  /** The known servers with source ranges. */
  readonly restricted: ReadonlySet<PlaneKey>;
  /** The sources of connections from inside, by the known servers that have any. */
  readonly insides: ReadonlyMap<PlaneKey, string>;
  set(server: IpvsPlane): void;
  delete(key: PlaneKey): void;
  clear(): void;
}

export function createKnownServers(): KnownServers {
  const known = new Map<PlaneKey, PackedServer>();
  const restricted = new Set<PlaneKey>();
  const insides = new Map<PlaneKey, string>();
  const get = (key: PlaneKey): IpvsPlane | undefined => {
    const packed = known.get(key);
    return packed === undefined ? undefined : unpackServer(packed);
  };
  return {
    get size() {
      return known.size;
    },
    keys: () => known.keys(),
    *servers() {
      for (const packed of known.values()) yield unpackServer(packed);
    },
    get,
    of: (keys) => [...keys].flatMap((key) => get(key) ?? []),
    restricted,
    insides,
    set(server) {
      const key = planeKeyOf(server);
      known.set(key, packServer(server));
      if (server.sourceRanges === undefined) restricted.delete(key);
      else restricted.add(key);
      if (server.insideSources === undefined) insides.delete(key);
      else insides.set(key, insideSourcesOf(server));
    },
    delete(key) {
      known.delete(key);
      restricted.delete(key);
      insides.delete(key);
    },
    clear() {
      known.clear();
      restricted.clear();
      insides.clear();
    },
  };
}
