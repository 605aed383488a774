export interface ConnectionLimits {
  /** Connections at one time. */
  readonly most: number;
  /** Of one peer. */
  readonly mostOfPeer: number;
}

/** The place of one connection. */
export interface ConnectionPlace {
  /** It is being served: it is not ended in favour of another. */
  busy(): void;
  /** It waits for its peer again: it may be ended where places are short. */
  idle(): void;
  /** It is closed. Later calls do nothing. */
  leave(): void;
}

export interface ConnectionGate {
  /**
   * Counts a connection that has just come. A connection that sent nothing yet waits, as an idle one does.
   * @param peer who it is counted for
   * @param end ends it, in favour of another; it must close it and must not fail
   * @returns undefined when it must be refused
   */
  admit(peer: string, end: () => void): ConnectionPlace | undefined;
  /** For metrics: refused includes those that were ended in favour of others. */
  counts(): { readonly open: number; readonly refused: number; readonly ended: number };
}

interface Entry {
  readonly peer: Peer;
  readonly end: () => void;
}

interface Peer {
  readonly name: string;
  open: number;
  /** Never served so far; the oldest first. */
  readonly fresh: Set<Entry>;
  /** Served before; the one that is idle for the longest time first. */
  readonly resting: Set<Entry>;
}

/**
 * Bounds connections so that no peer locks another out: a newcomer without a place takes that of a connection that waits for its peer. First of one
 * that never asked anything, of the peer that holds the most connections and no fewer than the newcomer's; then of an idle one, of the peer that
 * holds the most and more than the newcomer's; then of one of its own. A peer at its own limit gives up a waiting connection of its own. What is
 * being served is never ended. A connection that was refused or ended costs nothing from then on.
 */
export function createConnectionGate({ most, mostOfPeer }: ConnectionLimits): ConnectionGate {
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
    const silent = largest(peers.values(), ({ fresh, open: size }) => (fresh.size > 0 && size >= held ? size : 0));
    if (silent !== undefined) return firstOf(silent.fresh);
    const holder = largest(peers.values(), ({ resting, open: size }) => (resting.size > 0 && size > held ? size : 0));
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
      // One that was ended is no longer counted, whatever is called then.
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

/** Undefined where all sizes are 0. */
function largest(peers: Iterable<Peer>, sizeOf: (peer: Peer) => number): Peer | undefined {
  let found: Peer | undefined;
  let most = 0;
  for (const peer of peers) {
    const size = sizeOf(peer);
    if (size > most) [found, most] = [peer, size];
  }
  return found;
}
