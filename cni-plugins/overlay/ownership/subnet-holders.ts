/** A claim in etcd, as long as it counts. */
export interface Known<Value> {
  value: Value;
  /** Time at which it left etcd. */
  goneAt?: number;
}

/** Which host claims each subnet, and since when a claim is no longer in etcd. */
export interface SubnetHolders {
  /** @param host undefined: no host has it any more @param touched gets each host that gains or loses it */
  claim(subnet: string, host: string | undefined, touched: Set<string>): void;
  /** Claims by subnet. */
  readonly claims: ReadonlyMap<string, Known<string>>;
  /** Returns the subnets of the host, in order; undefined when it has none. */
  of(host: string): string[] | undefined;
  /** A counter that changes whenever a subnet changes hands. */
  readonly changed: number;
}

export function createSubnetHolders(): SubnetHolders {
  const claims = new Map<string, Known<string>>();
  const subnetsOf = new Map<string, Set<string>>();
  let changed = 0;
  return {
    claims,
    claim(subnet, host, touched) {
      const former = claims.get(subnet)?.value;
      if (former !== host) changed += 1;
      if (former !== undefined && former !== host) {
        subnetsOf.get(former)?.delete(subnet);
        if (subnetsOf.get(former)?.size === 0) subnetsOf.delete(former);
        touched.add(former);
      }
      if (host === undefined) return void claims.delete(subnet);
      claims.set(subnet, { value: host });
      if (former === host) return;
      const own = subnetsOf.get(host) ?? new Set();
      subnetsOf.set(host, own.add(subnet));
      touched.add(host);
    },
    of(host) {
      const subnets = subnetsOf.get(host);
      return subnets === undefined ? undefined : [...subnets].sort();
    },
    get changed() {
      return changed;
    },
  };
}
