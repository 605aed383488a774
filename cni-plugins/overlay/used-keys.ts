import type { Met } from './data-plane.ts';
import type { WireguardEnd } from './records.ts';

/** Which of the keys that a host has said it uses now. Pure but for the clock that is handed in. */
export interface UsedKeys {
  /** What the host is sent to by. @param met by key */
  keyOf(host: string, end: WireguardEnd, met: ReadonlyMap<string, Pick<Met, 'handshakeMs'>>, now: number): string;
  current(host: string): string | undefined;
  /** Hosts that have said a new key and have not been met by it. */
  readonly waiting: ReadonlySet<string>;
  forget(host: string): void;
}

/** Who said a new key shows itself by it within this time, or has lost the former one. */
const showsItselfWithinMs = 3000;

/**
 * A host that changes its key speaks to all by the new one at once, and then says so in etcd. It is followed when it has been met by the new key: whoever
 * sent to a key that is not yet in use would wait for seconds. A host that does not hear etcd follows in the same way, as the next key was said beforehand.
 */
export function createUsedKeys(): UsedKeys {
  const used = new Map<string, string>();
  /** Hosts that are sent to by a key that they no longer say, and since when. */
  const waiting = new Map<string, number>();

  const decide = (host: string, { publicKey, nextKey }: WireguardEnd, met: Parameters<UsedKeys['keyOf']>[2], now: number): string => {
    const former = used.get(host);
    const metAt = (key: string): number => met.get(key)?.handshakeMs ?? 0;
    const isSaid = (key: string): boolean => key === publicKey || key === nextKey;
    const said = metAt(nextKey) > metAt(publicKey) ? nextKey : publicKey;
    if (former === undefined || metAt(said) > metAt(former)) return said;
    // Who took over without a word of etcd stays: keys never go back.
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
