/** Which services have which address. */
export interface Owners {
  /** Replaces the addresses of a service. */
  put(key: string, addresses: readonly string[]): void;
  /** Returns the keys of the services that have the address. */
  of(address: string): readonly string[];
}

/** The most owners of one address. More have no reverse name. */
const mostOwners = 16;
const none: readonly string[] = [];

export function createOwners(): Owners {
  const owned = new Map<string, readonly string[]>();
  const addressesOf = new Map<string, readonly string[]>();

  function release(key: string, address: string): void {
    const rest = (owned.get(address) ?? none).filter((each) => each !== key);
    if (rest.length === 0) owned.delete(address);
    else owned.set(address, rest);
  }

  return {
    of: (address) => owned.get(address) ?? none,
    put(key, addresses) {
      const before = addressesOf.get(key) ?? none;
      const [was, is] = [new Set(before), new Set(addresses)];
      for (const address of before) if (!is.has(address)) release(key, address);
      for (const address of addresses) {
        const others = owned.get(address) ?? none;
        if (!was.has(address) && others.length < mostOwners) owned.set(address, [...others, key]);
      }
      if (addresses.length === 0) addressesOf.delete(key);
      else addressesOf.set(key, addresses);
    },
  };
}
