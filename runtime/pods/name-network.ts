import type { DNSConfig } from '../cri/contract/contract.types.ts';

const annotation = 'portcullis.dev/dns';

/**
 * Returns the network whose gateway answers the name queries of a pod; undefined: the pod uses the name
 * servers from its kubelet. Pure.
 */
export function nameNetwork(annotations: Readonly<Record<string, string>>): string | undefined {
  const network = annotations[annotation]?.trim() ?? '';
  return network === '' ? undefined : network;
}

/** resolv.conf(5) allows three. */
const mostServers = 3;

/**
 * Returns the DNS configuration of the kubelet, with the gateways in place of the name servers and the zone
 * before the search domains. Pure.
 */
export function dnsOfNetwork(
  dns: DNSConfig | undefined,
  { nameServers, search }: { readonly nameServers: readonly string[]; readonly search: string },
): DNSConfig {
  return {
    servers: nameServers.slice(0, mostServers),
    searches: [search, ...(dns?.searches ?? []).filter((each) => each !== search)],
    options: dns?.options ?? [],
  };
}
