/** Which services have which address. */
export interface Owners {
  /** Replaces the addresses of a service. */
  put(key: string, addresses: readonly string[]): void;
  /** Returns the keys of the services that have the address, at most 16. */
  of(address: string): readonly string[];
}

/** The most owners of one address that have a reverse name. */
export const mostOwners = 16;
const none: readonly string[] = [];

export function createOwners(): Owners {
  /** Nearly every address has one owner, and a set for each would take several times the memory. */
  const owned = new Map<string, string | Set<string>>();
  const addressesOf = new Map<string, readonly string[]>();

  function add(key: string, address: string): void {
    const others = owned.get(address);
    if (others === undefined) owned.set(address, key);
    else if (typeof others === 'string') owned.set(address, new Set([others, key]));
    else others.add(key);
  }
  function release(key: string, address: string): void {
    const others = owned.get(address);
    if (others === key) owned.delete(address);
    if (!(others instanceof Set)) return;
    others.delete(key);
    if (others.size === 0) owned.delete(address);
  }

  return {
    of(address) {
      const found = owned.get(address);
      if (found === undefined) return none;
      return typeof found === 'string' ? [found] : [...found].slice(0, mostOwners);
    },
    put(key, addresses) {
      const before = addressesOf.get(key) ?? none;
      const [was, is] = [new Set(before), new Set(addresses)];
      for (const address of was) if (!is.has(address)) release(key, address);
      for (const address of is) if (!was.has(address)) add(key, address);
      if (addresses.length === 0) addressesOf.delete(key);
      else addressesOf.set(key, addresses);
    },
  };
}
