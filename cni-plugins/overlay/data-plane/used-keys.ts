import type { Met } from './data-plane.ts';
import type { WireguardEnd } from '../records/records.ts';

/** Decides which of a host's announced keys it uses now. Pure except for the clock that is passed in. */
export interface UsedKeys {
  /**
   * Returns the key to send to.
   * @param met the handshakes, by key
   * @param now milliseconds of a clock that never goes back
   */
  keyOf(
    host: string,
    end: WireguardEnd,
    met: ReadonlyMap<string, Pick<Met, 'handshakeMs'>>,
    now: number,
  ): string;
  current(host: string): string | undefined;
  /** Hosts that announced a new key, and with which there was no handshake with that key yet. */
  readonly waiting: ReadonlySet<string>;
  forget(host: string): void;
}

/** A host that announced a new key makes a handshake with it within this time, or has lost the former key. */
const showsItselfWithinMs = 3000;

/** The last handshake with a key: its time by the machine's clock, and when it was first seen. */
interface SeenHandshake {
  readonly handshakeMs: number;
  readonly seenAt: number;
}

const none: SeenHandshake = { handshakeMs: 0, seenAt: -Infinity };

/**
 * Follows key changes. A host that changes its key makes handshakes with the new key with all hosts at once,
 * and then announces it in etcd. This host switches to the new key after that handshake, because traffic to a
 * key that is not yet in use would stall for seconds. A host without a connection to etcd switches in the
 * same way, because the next key was announced in advance. The order in which handshakes are seen counts: the
 * machine's clock, by which the kernel times them, may be set back between two.
 */
export function createUsedKeys(): UsedKeys {
  const used = new Map<string, string>();
  /** Hosts for which a key is used that they no longer announce, and since when. */
  const waiting = new Map<string, number>();
  /** The last handshakes of each host, by key. */
  const handshakes = new Map<string, ReadonlyMap<string, SeenHandshake>>();

  const seenOf = (
    host: string,
    { publicKey, nextKey }: WireguardEnd,
    met: Parameters<UsedKeys['keyOf']>[2],
    now: number,
  ): ReadonlyMap<string, SeenHandshake> => {
    const before = handshakes.get(host);
    const seen = new Map<string, SeenHandshake>();
    for (const key of [publicKey, nextKey, used.get(host) ?? publicKey]) {
      const { handshakeMs } = met.get(key) ?? none;
      if (handshakeMs === 0) continue;
      const known = before?.get(key);
      seen.set(key, known?.handshakeMs === handshakeMs ? known : { handshakeMs, seenAt: now });
    }
    handshakes.set(host, seen);
    return seen;
  };

  const decide = (
    host: string,
    end: WireguardEnd,
    met: Parameters<UsedKeys['keyOf']>[2],
    now: number,
  ): string => {
    const { publicKey, nextKey } = end;
    const former = used.get(host);
    const seen = seenOf(host, end, met, now);
    const isLater = (key: string, other: string): boolean => {
      const [one, two] = [seen.get(key) ?? none, seen.get(other) ?? none];
      return one.seenAt > two.seenAt || (one.seenAt === two.seenAt && one.handshakeMs > two.handshakeMs);
    };
    const isSaid = (key: string): boolean => key === publicKey || key === nextKey;
    const said = isLater(nextKey, publicKey) ? nextKey : publicKey;
    if (former === undefined || isLater(said, former)) return said;
    // A host that took over its next key without an announcement keeps it: keys never go back.
    if (isSaid(former)) return former;
    const since = waiting.get(host) ?? now;
    if (now - since >= showsItselfWithinMs) return said;
    waiting.set(host, since);
    return former;
  };

  return {
    get waiting() {
      return new Set(waiting.keys());
    },
    current: (host) => used.get(host),
    forget(host) {
      used.delete(host);
      waiting.delete(host);
      handshakes.delete(host);
    },
    keyOf(host, end, met, now) {
      const key = decide(host, end, met, now);
      if (key === end.publicKey || key === end.nextKey) waiting.delete(host);
      used.set(host, key);
      return key;
    },
  };
}
