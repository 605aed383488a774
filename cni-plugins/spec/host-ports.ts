import { formatIp, parseIp } from '../../base/addresses/index.ts';

/**
 * Where a mapping applies on the host: at one address, at every address of a family (0.0.0.0 or ::), or,
 * without an address, at every address. Portmap of the CNI project and docker distinguish the families too.
 */

interface Mapping {
  readonly protocol: string;
  readonly containerPort: number;
  readonly hostPort: number;
  readonly hostIp?: string;
}

/** Returns the host address in its canonical form; empty: every address of both families. */
export function hostIpOf({ hostIp = '' }: Pick<Mapping, 'hostIp'>): string {
  const address = parseIp(hostIp);
  return address === undefined ? '' : formatIp(address);
}

const isWholeFamily = (hostIp: string): boolean => hostIp === '0.0.0.0' || hostIp === '::';

/** Returns whether two canonical host addresses have an address in common. */
export function overlap(one: string, other: string): boolean {
  if (one === other || one === '' || other === '') return true;
  return (isWholeFamily(one) || isWholeFamily(other)) && one.includes(':') === other.includes(':');
}

/**
 * Removes duplicates. One port may be mapped at every address and at one address, because the exact address
 * takes precedence.
 * @param refuse called with a mapping if the same place is mapped to another port
 */
export function distinctMappings<One extends Mapping>(
  mappings: readonly One[],
  refuse: (mapping: One, port: number) => void,
): One[] {
  const targets = new Map<string, number>();
  const everywhereFirst = [
    ...mappings.filter((mapping) => hostIpOf(mapping) === ''),
    ...mappings.filter((mapping) => hostIpOf(mapping) !== ''),
  ];
  return everywhereFirst.filter((mapping) => {
    const { protocol, hostPort, containerPort } = mapping;
    const hostIp = hostIpOf(mapping);
    const places = (hostIp === '' ? ['0.0.0.0', '::'] : [hostIp]).map(
      (ip) => `${protocol} ${hostPort} ${ip}`,
    );
    const found = places.map((place) => targets.get(place));
    const other = found.find((port) => port !== undefined && port !== containerPort);
    if (other !== undefined) refuse(mapping, other);
    for (const place of places) targets.set(place, containerPort);
    return found.includes(undefined);
  });
}
