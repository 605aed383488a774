import { shell } from '../../cni-plugins/services/switch/hosts.fixture.ts';
import { openEnd } from './end.ts';
import type { TestEnd } from './end.ts';
import { ends, gatewayAddresses, markPorts, nodeAddresses, places, servedPorts } from './layout.ts';

/** The kernel limits how often it refuses a client by ICMP. A client could not tell this from a loss. */
const unlimited =
  'sysctl -qew net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0 net.ipv4.icmp_msgs_per_sec=1000000 net.ipv4.icmp_msgs_burst=100000';

/**
 * A flow must outlive a step, also on a busy machine: otherwise it would seem to move to another endpoint. A
 * flow of an earlier step must not, because another one could get its ports.
 */
const patient = 'sysctl -qew net.netfilter.nf_conntrack_udp_timeout=120';

/**
 * Makes this network namespace a node, with a link to each end. The pods have links of their own instead of a
 * common bridge, because an endpoint on the bridge of its client would answer past kube-proxy.
 */
export async function openNetwork(): Promise<ReadonlyMap<string, TestEnd>> {
  shell(
    [
      'ip link set lo up',
      'sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1',
      'sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0',
      unlimited,
      patient,
      // Packets to an address that nobody serves vanish.
      'ip link add void type veth peer name void-end',
      'ip link set void arp off up; ip link set void-end up',
      'ip route add default dev void src 192.0.2.1 2>/dev/null || ip route add default dev void',
      'ip -6 route add default dev void',
    ].join('\n'),
  );
  const host = await openEnd('host', false);
  const opened = new Map([['host', host.end]]);
  for (const { name, addresses, prefixes } of ends) {
    const { end, thread } = await openEnd(name, true);
    opened.set(name, end);
    link(name, thread, addresses, prefixes ?? []);
  }
  const serving = ends.filter(({ serves }) => serves).map(({ name }) => name);
  for (const { addresses, node } of places) {
    const name = addresses[0] === nodeAddresses[4] ? 'host' : ownerOf(addresses[0], serving);
    if (name === undefined) throw new Error(`no end has ${addresses[0]} of ${node}`);
    for (const address of addresses) await opened.get(name)?.serve(address, [...servedPorts]);
  }
  for (const address of ends.find(({ name }) => name === 'far')?.addresses ?? [])
    await opened.get('far')?.serve(address, [...markPorts]);
  return opened;
}

const ownerOf = (address: string, serving: readonly string[]): string | undefined =>
  ends.find(({ name, addresses }) => serving.includes(name) && addresses[0] === address)?.name ??
  (address.startsWith('10.244.2') ? 'far' : undefined);

function link(
  name: string,
  thread: string,
  [four, six]: readonly string[],
  prefixes: readonly string[],
): void {
  const isOutside = name === 'out';
  const near = isOutside ? nodeAddresses : gatewayAddresses;
  const inside = (command: string): string => `nsenter --net=/proc/${thread}/ns/net ${command}`;
  shell(
    [
      `ip link add v-${name} type veth peer name eth0 netns ${thread}`,
      `ip link set v-${name} up`,
      ...(isOutside
        ? [`ip addr add ${near[4]}/24 dev v-${name}`, `ip -6 addr add ${near[6]}/64 dev v-${name} nodad`]
        : [`ip addr add ${near[4]}/32 dev v-${name}`, `ip -6 addr add ${near[6]}/128 dev v-${name} nodad`]),
      inside(unlimited),
      inside('ip link set lo up'),
      inside('ip link set eth0 up'),
      inside('sysctl -qw net.ipv6.ip_nonlocal_bind=1 net.ipv4.conf.all.rp_filter=0'),
      inside(`ip addr add ${four}/${isOutside ? 24 : 32} dev eth0`),
      inside(`ip -6 addr add ${six}/${isOutside ? 64 : 128} dev eth0 nodad`),
      ...(isOutside
        ? []
        : [
            `ip route add ${four}/32 dev v-${name}`,
            `ip -6 route add ${six}/128 dev v-${name}`,
            inside(`ip route add ${near[4]}/32 dev eth0`),
            inside(`ip -6 route add ${near[6]}/128 dev eth0`),
          ]),
      inside(`ip route add default via ${near[4]}`),
      inside(`ip -6 route add default via ${near[6]}`),
      ...prefixes.flatMap((prefix) => {
        const [ip, to] = prefix.includes(':') ? ['ip -6', six] : ['ip', four];
        return [
          inside(`${ip} route add local ${prefix} dev lo`),
          `${ip} route add ${prefix} via ${to} dev v-${name}`,
        ];
      }),
    ].join(' && '),
  );
}
