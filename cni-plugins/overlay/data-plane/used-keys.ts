import type { Met } from './data-plane.ts';
import type { WireguardEnd } from '../records/records.ts';

/** Decides which of a host's announced keys it uses now. Pure except for the clock that is passed in. */
export interface UsedKeys {
  /**
   * Returns the key to send to.
   * @param met the handshakes, by key
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

/**
 * Follows key changes. A host that changes its key makes handshakes with the new key with all hosts at once,
 * and then announces it in etcd. This host switches to the new key after that handshake, because traffic to a
 * key that is not yet in use would stall for seconds. A host without a connection to etcd switches in the
 * same way, because the next key was announced in advance.
 */
export function createUsedKeys(): UsedKeys {
  const used = new Map<string, string>();
  /** Hosts for which a key is used that they no longer announce, and since when. */
  const waiting = new Map<string, number>();

  const decide = (
    host: string,
    { publicKey, nextKey }: WireguardEnd,
    met: Parameters<UsedKeys['keyOf']>[2],
    now: number,
  ): string => {
    const former = used.get(host);
    const metAt = (key: string): number => met.get(key)?.handshakeMs ?? 0;
    const isSaid = (key: string): boolean => key === publicKey || key === nextKey;
    const said = metAt(nextKey) > metAt(publicKey) ? nextKey : publicKey;
    if (former === undefined || metAt(said) > metAt(former)) return said;
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
    },
    keyOf(host, end, met, now) {
      const key = decide(host, end, met, now);
      if (key === end.publicKey || key === end.nextKey) waiting.delete(host);
      used.set(host, key);
      return key;
    },
  };
}
