import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * The addresses of the API servers. No Service may have one of them: it would cut the node off from its
 * API server, and the node would not learn that the Service was removed. A kubeconfig may name servers by
 * names.
 */
export interface ApiAddresses {
  /** Notes the servers of a kubeconfig. Resolves when their addresses are known, or after a second. */
  note(servers: readonly Pick<URL, 'hostname'>[]): Promise<void>;
  /** Addresses of the servers, in any form. An address that a name once had stays. */
  all(): readonly string[];
}

/** Looks up all addresses of a name. */
export type LookUp = (host: string) => Promise<readonly string[]>;

/** The longest that a request waits for a name, which the request itself looks up again. */
const waitMs = 1000;
const againMs = 30_000;
/** A name with more addresses than these loses the oldest. */
const mostOfName = 64;

const usualLookUp: LookUp = async (host) => (await lookup(host, { all: true })).map(({ address }) => address);

/** @param changed called when a name has an address that it did not have before */
export function createApiAddresses(changed: () => void, lookUp: LookUp = usualLookUp): ApiAddresses {
  let own: readonly string[] = [];
  const names = new Map<string, { addresses: readonly string[]; at: number; asked: Promise<void> }>();

  const look = (host: string): Promise<void> => {
    const name = names.get(host) ?? { addresses: [], at: -Infinity, asked: Promise.resolve() };
    names.set(host, name);
    if (performance.now() - name.at < againMs) return name.asked;
    name.at = performance.now();
    name.asked = lookUp(host).then(
      (found) => {
        const all = [...new Set([...found, ...name.addresses])].slice(0, mostOfName);
        const isOther = all.some((address) => !name.addresses.includes(address));
        name.addresses = all;
        if (isOther) changed();
      },
      () => undefined,
    );
    return name.asked;
  };

  return {
    async note(servers) {
      const hosts = servers.map(({ hostname }) => hostname.replace(/^\[(.*)\]$/u, '$1'));
      own = hosts.filter((host) => isIP(host) !== 0);
      const named = hosts.filter((host) => isIP(host) === 0);
      for (const host of names.keys()) if (!named.includes(host)) names.delete(host);
      if (named.length === 0) return;
      const late = new AbortController();
      const waited = sleep(waitMs, undefined, { ref: false, signal: late.signal }).catch(() => undefined);
      await Promise.race([Promise.all(named.map(look)), waited]);
      late.abort();
    },
    all: () => [...own, ...[...names.values()].flatMap(({ addresses }) => addresses)],
  };
}
