import { keyOf } from '../model/model.ts';
import type { ServerKey, VirtualServer } from '../model/model.ts';
import { packServer, unpackServer } from '../model/serialized-server.ts';
import type { PackedServer } from '../model/serialized-server.ts';

/**
 * The virtual servers as they were last programmed. Kept as text: there are thousands of servers, and a
 * change affects few of them.
 */
export interface KnownServers {
  readonly size: number;
  keys(): Iterable<ServerKey>;
  /** Yields one server at a time. */
  servers(): Iterable<VirtualServer>;
  /** Returns undefined for a server that is not known. */
  get(key: ServerKey): VirtualServer | undefined;
  /** Returns the known ones of these servers. */
  of(keys: Iterable<ServerKey>): VirtualServer[];
  /** The known servers with source ranges. */
  readonly restricted: ReadonlySet<ServerKey>;
  set(server: VirtualServer): void;
  delete(key: ServerKey): void;
  clear(): void;
}

export function createKnownServers(): KnownServers {
  const known = new Map<ServerKey, PackedServer>();
  const restricted = new Set<ServerKey>();
  const get = (key: ServerKey): VirtualServer | undefined => {
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
    set(server) {
      const key = keyOf(server);
      known.set(key, packServer(server));
      if (server.sourceRanges === undefined) restricted.delete(key);
      else restricted.add(key);
    },
    delete(key) {
      known.delete(key);
      restricted.delete(key);
    },
    clear() {
      known.clear();
      restricted.clear();
    },
  };
}
