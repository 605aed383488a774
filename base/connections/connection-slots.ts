export interface ConnectionLimits {
  /** Maximum number of connections at a time. */
  readonly most: number;
  /** Maximum number of connections of one peer. */
  readonly mostOfPeer: number;
}

/** The slot of one connection. */
export interface ConnectionPlace {
  /** Marks the connection as being served. It is not closed in favour of another one. */
  busy(): void;
  /** Marks the connection as waiting for its peer again. It may be closed when slots are short. */
  idle(): void;
  /** Marks the connection as closed. Later calls do nothing. */
  leave(): void;
}

export interface ConnectionSlots {
  /**
   * Counts a new connection. A connection that has sent nothing yet waits, like an idle one.
   * @param peer the peer that the connection counts for
   * @param end closes the connection in favour of another one; it must not fail
   * @returns undefined when the connection must be refused
   */
  admit(peer: string, end: () => void): ConnectionPlace | undefined;
  /** Counts for metrics. `refused` includes connections that were closed in favour of others. */
  counts(): { readonly open: number; readonly refused: number; readonly ended: number };
}

interface Entry {
  readonly peer: Peer;
  readonly end: () => void;
}

interface Peer {
  readonly name: string;
  open: number;
  /** Connections that were never served, the oldest first. */
  readonly fresh: Set<Entry>;
  /** Connections that were served before. The one that is idle for the longest time comes first. */
  readonly resting: Set<Entry>;
}

/**
 * Bounds connections so that no peer locks another out. A new connection without a slot takes the slot of a
 * connection that waits for its peer, in this order: a connection that never sent a request, of the peer that
 * has the most connections and no fewer than the new one's peer; an idle connection, of the peer that has the
 * most and more than the new one's peer; a connection of the new one's own peer. A peer at its own limit
 * gives up one of its waiting connections. A connection that is being served is never closed. A connection
 * that was refused or closed costs nothing afterwards.
 */
export function createConnectionSlots({ most, mostOfPeer }: ConnectionLimits): ConnectionSlots {
  const peers = new Map<string, Peer>();
  let [open, refused, ended] = [0, 0, 0];

  const remove = (entry: Entry): void => {
    const { peer } = entry;
    open -= 1;
    peer.open -= 1;
    peer.fresh.delete(entry);
    peer.resting.delete(entry);
    if (peer.open === 0) peers.delete(peer.name);
  };
  const victimFor = (name: string): Entry | undefined => {
    const own = peers.get(name);
    if (own !== undefined && own.open >= mostOfPeer) return firstOf(own.fresh) ?? firstOf(own.resting);
    const held = own?.open ?? 0;
    const silent = largest(peers.values(), ({ fresh, open: size }) =>
      fresh.size > 0 && size >= held ? size : 0,
    );
    if (silent !== undefined) return firstOf(silent.fresh);
    const holder = largest(peers.values(), ({ resting, open: size }) =>
      resting.size > 0 && size > held ? size : 0,
    );
    if (holder !== undefined) return firstOf(holder.resting);
    return own === undefined ? undefined : (firstOf(own.fresh) ?? firstOf(own.resting));
  };

  return {
    admit(name, end) {
      if (open >= most || (peers.get(name)?.open ?? 0) >= mostOfPeer) {
        const victim = victimFor(name);
        if (victim === undefined) {
          refused += 1;
          return undefined;
        }
        ended += 1;
        remove(victim);
        victim.end();
      }
      const peer: Peer = peers.get(name) ?? { name, open: 0, fresh: new Set(), resting: new Set() };
      peers.set(name, peer);
      const entry: Entry = { peer, end };
      open += 1;
      peer.open += 1;
      peer.fresh.add(entry);
      let left = false;
      // A closed connection is no longer counted, whatever is called afterwards.
      const isCounted = (): boolean => !left && (peer.fresh.has(entry) || peer.resting.has(entry) || served);
      let served = false;
      return {
        busy() {
          if (!isCounted()) return;
          served = true;
          peer.fresh.delete(entry);
          peer.resting.delete(entry);
        },
        idle() {
          if (!isCounted() || !served) return;
          served = false;
          peer.resting.add(entry);
        },
        leave() {
          if (!isCounted()) return;
          left = true;
          remove(entry);
        },
      };
    },
    counts: () => ({ open, refused, ended }),
  };
}

function firstOf(entries: Iterable<Entry>): Entry | undefined {
  for (const entry of entries) return entry;
  return undefined;
}

/** Returns undefined if all sizes are 0. */
function largest(peers: Iterable<Peer>, sizeOf: (peer: Peer) => number): Peer | undefined {
  let found: Peer | undefined;
  let most = 0;
  for (const peer of peers) {
    const size = sizeOf(peer);
    if (size > most) [found, most] = [peer, size];
  }
  return found;
}
