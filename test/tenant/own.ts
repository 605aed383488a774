/** The objects that belong to a pod, as the kernel has them: nothing here is derived from a name alone. */
export interface Own {
  /** Its sandbox and its containers: 64 hexadecimal digits, which no client chooses. */
  readonly ids: readonly string[];
  /**
   * Ends of its links on the host: those whose other end is in its network namespace, and those to which
   * these are redirected.
   */
  readonly links: readonly string[];
  /**
   * Addresses and MAC addresses of its interfaces, read in its network namespace, and of the ends of its
   * links.
   */
  readonly addresses: readonly string[];
  /**
   * Virtual addresses of services of which it is the first member: addresses that the network had not leased.
   */
  readonly virtual: readonly string[];
  /** These services, as `NETWORK/NAME`. */
  readonly services: readonly string[];
  /** The folders that its kubelet created for it: logs and volumes. */
  readonly folders: readonly string[];
}

interface Allowed {
  readonly reason: string;
  holds(line: string, own: Own): boolean;
}

/**
 * Sets and maps whose elements are about one link or one address each. Those of host ports and of ingress are
 * not included: no tenant has one.
 */
const setsOfLinks = /^nft element (bridge|inet|arp|netdev) portcullis(_rules)? \w+ /u;
const setsOfAddresses =
  /^nft element (ip6? portcullis (held|held_links)|ip6? portcullis_plugins masquerade|ip6? portcullis_services (servers|slots\d+|addresses)|ip6? portcullis_service_networks (virtual|reached)) /u;
/** Bridges of the networks and their MAC addresses, which occur in elements of pods. */
const shared =
  /^(net23\d|0a:58:0a:e[789]:00:01|tcp|udp|sctp|leaving_\w+|from_\w+|to_\w+|closed_\w+|pick_\w+)$/u;

/**
 * Returns whether every text and address in an element belongs to the pod or its network, and at least one to
 * the pod.
 */
function isOwnElement(line: string, own: Own): boolean {
  const mine = new Set([...own.links, ...own.addresses, ...own.virtual]);
  const texts = [...line.slice(line.search(/["{[]/u)).matchAll(/"([^"]*)"/gu)].map(([, text = '']) => text);
  const values = texts.filter(
    (text) => !/^(concat|goto|jump|target|accept|drop|val|elem|prefix|addr|len)$/u.test(text),
  );
  return values.some((text) => mine.has(text)) && values.every((text) => mine.has(text) || shared.test(text));
}

const has = (line: string, things: readonly string[]): boolean =>
  things.some((thing) => thing !== '' && line.includes(thing));
const about = (line: string, pattern: RegExp, things: readonly string[]): boolean => {
  const found = pattern.exec(line)?.[1];
  return found !== undefined && things.includes(found);
};

/** The lines that a pod may add while it exists, and why. A missing line is never allowed. */
const table: readonly Allowed[] = [
  {
    reason: 'the end of its link on the host',
    holds: (line, own) => about(line, /^link (\S+) /u, own.links),
  },
  {
    reason: 'its link has the kernel’s settings of a link',
    holds: (line, own) => about(line, /^sysctl net\/ipv[46]\/(?:conf|neigh)\/([^/]+)\//u, own.links),
  },
  {
    reason: 'the kernel’s multicast route, queue and forwarding entries of its link',
    holds: (line, own) => about(line, /^(?:route|qdisc|fdb) .*\bdev (\S+)/u, own.links),
  },
  {
    reason: 'the kernel’s own address of a link',
    holds: (line, own) => about(line, /^address fe80:\S+ on (\S+)$/u, own.links),
  },
  {
    reason: 'the neighbour entry of its address on the host',
    holds: (line, own) => about(line, /^neighbour (\S+) /u, own.addresses),
  },
  {
    reason: 'the entry of its link in the set that decides about its traffic',
    holds: (line, own) => setsOfLinks.test(line) && isOwnElement(line, own),
  },
  {
    reason: 'no other link may send from its address, and its outgoing traffic is translated',
    holds: (line, own) => setsOfAddresses.test(line) && isOwnElement(line, own),
  },
  {
    reason: 'the virtual address of its own service is at the link of its network',
    holds: (line, own) =>
      about(line, /^address ([^/]+)\/(?:32|128) on net23[12]$/u, own.virtual) ||
      about(line, /^route local (\S+) dev net23[12] /u, own.virtual),
  },
  {
    reason:
      'IPv6 listens for neighbours that ask for that virtual address (solicited-node multicast, RFC 4291)',
    holds: (line, own) =>
      own.virtual.length > 0 && /^fdb 33:33:ff:00:[0-9a-f:]{5} dev net23[12] self permanent$/u.test(line),
  },
  {
    reason: 'the chain that balances its service, to which only its virtual address leads',
    holds: (line, own) =>
      own.virtual.length > 0 &&
      /^nft (chain ip6? portcullis_services {1,2}pick_\w+ |rule ip6? portcullis_services pick_\w+ |element ip6? portcullis_services modes \[\d+,)/u.test(
        line,
      ),
  },
  { reason: 'its service is listed', holds: (line, own) => about(line, /^service (\S+) /u, own.services) },
  { reason: 'its cgroup', holds: (line, own) => line.startsWith('cgroup ') && has(line, own.ids) },
  {
    reason: 'the parents of its cgroup that its kubelet named, and that no other pod has',
    holds: (line) => /^cgroup \/sys\/fs\/cgroup\/(\w+\/)?tenant-suite-[0-9a-f]{8}\.other/u.test(line),
  },
  {
    reason: 'its root file system and /dev/shm',
    holds: (line, own) => line.startsWith('mount ') && has(line, own.ids),
  },
  {
    reason: 'a set of namespaces from the pool, which the daemon refills',
    holds: (line) =>
      /^(mount of the (host|daemon) POOL\/(net|ipc|uts|user|pid) |file . \d+ \S* \tPOOL(\/(net|ipc|uts|user|pid))?$)/u.test(
        line,
      ),
  },
  {
    reason: 'its processes and their monitor',
    holds: (line, own) => line.startsWith('process ') && has(line, own.ids),
  },
  {
    reason: 'the socket for clients that attach to its monitor',
    holds: (line) =>
      /^socket u_seq LISTEN \/proc\/self\/fd\/\d+\/attach users:\(\("conmon",pid=\d+\)\)/u.test(line),
  },
  {
    reason: 'its files and bundle',
    holds: (line, own) => /^(file|content) /u.test(line) && (has(line, own.ids) || has(line, own.folders)),
  },
  { reason: 'it is listed', holds: (line, own) => /^(pod|container) /u.test(line) && has(line, own.ids) },
];

/**
 * A process of the daemon that resolves paths of the host. It ends half a minute after the last path, and a
 * pod with a path may start it.
 */
const isLookUp = (line: string): boolean => /^process \d+ in \S+: portcullis-look-up /u.test(line);

/**
 * Lines that may outlast a pod for a while: the kernel forgets by itself that an address of the pod was at a
 * MAC address, and no interface has either any more. (The kernel learns about an IPv6 link from more than the
 * pod's packets, so that removing the entry at the link's end does not keep it away.)
 */
export function mayOutlast(line: string, own: Own): boolean {
  return (
    isLookUp(line) ||
    (about(line, /^neighbour (\S+) dev net23\d lladdr \S+$/u, own.addresses) &&
      has(
        line,
        own.addresses.filter((address) => /^([0-9a-f]{2}:){5}/u.test(address)),
      ))
  );
}

export function allowed(line: string, own: Own): boolean {
  return isLookUp(line) || table.some((row) => row.holds(line, own));
}
