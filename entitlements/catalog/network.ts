import { EVERYWHERE, EVERY_PORT, networkRules, readCidr, readPorts } from '../profile/values.ts';
import type { Effects, Entitlement } from './entitlement.ts';

export const NETWORK_ENTITLEMENTS: readonly Entitlement[] = [
  {
    name: 'network.none',
    title: 'No network: local sockets only',
    risk: 'low',
    network: 'none',
    grants: {},
    excludes: {
      capabilities: ['NET_ADMIN', 'NET_BIND_SERVICE', 'NET_BROADCAST', 'NET_RAW'],
      // libentitlement also blocks bind, connect and others, and with them the AF_UNIX sockets that it
      // intends to allow.
      syscalls: [
        { call: 'socket', unless: [{ argument: 0, equals: 'AF_UNIX' }] },
        { call: 'socketpair', unless: [{ argument: 0, equals: 'AF_UNIX' }] },
        'sethostname',
        'setdomainname',
      ],
      hostNamespaces: ['network'],
      maskedPaths: ['/proc/sys/net', '/sys/class/net'],
    },
    tests: {
      allows: ['socket(AF_UNIX)', 'bind()', 'class none'],
      denies: [
        'socket(AF_INET)',
        'socket(AF_NETLINK)',
        'socket(AF_PACKET)',
        'CAP_NET_RAW',
        'host network',
        'read /sys/class/net/eth0',
      ],
    },
  },
  {
    name: 'network.user',
    title: 'Ordinary network use: connect, and listen on ports that need no privilege',
    risk: 'low',
    network: 'user',
    grants: {},
    excludes: {
      capabilities: ['NET_ADMIN', 'NET_BIND_SERVICE', 'NET_BROADCAST', 'NET_RAW'],
      hostNamespaces: ['network'],
    },
    tests: {
      allows: ['socket(AF_INET)', 'class user'],
      denies: ['CAP_NET_RAW', 'CAP_NET_BIND_SERVICE', 'socket(AF_ALG)', 'class proxy'],
    },
  },
  {
    name: 'network.proxy',
    title: 'A network service: low ports, raw sockets and broadcast, no configuration of the network',
    risk: 'medium',
    network: 'proxy',
    grants: { capabilities: ['NET_BIND_SERVICE', 'NET_BROADCAST', 'NET_RAW'] },
    excludes: {
      capabilities: ['NET_ADMIN'],
      // The option has this number only at this level. At other levels 1 is TCP_NODELAY and others.
      syscalls: [
        {
          call: 'setsockopt',
          when: [
            { argument: 1, equals: 'SOL_SOCKET' },
            { argument: 2, equals: 'SO_DEBUG' },
          ],
        },
      ],
      hostNamespaces: ['network'],
    },
    tests: {
      allows: ['CAP_NET_RAW', 'CAP_NET_BROADCAST', 'setsockopt(3, IPPROTO_TCP, TCP_NODELAY)', 'class proxy'],
      denies: ['CAP_NET_ADMIN', 'setsockopt(3, SOL_SOCKET, SO_DEBUG)', 'class admin'],
    },
  },
  {
    name: 'network.admin',
    title: "Configures the pod's own network: addresses, routes, firewall",
    risk: 'high',
    network: 'admin',
    grants: { capabilities: ['NET_ADMIN', 'NET_BIND_SERVICE', 'NET_BROADCAST', 'NET_RAW'] },
    excludes: { hostNamespaces: ['network'] },
    tests: { allows: ['CAP_NET_ADMIN', 'class admin'], denies: ['host network', 'CAP_SYS_ADMIN'] },
  },
  {
    name: 'network.host',
    title: "Shares the host's network",
    risk: 'critical',
    network: 'host',
    grants: { hostNamespaces: ['network'] },
    tests: { allows: ['host network', 'class host'], denies: ['CAP_NET_ADMIN', 'host pid'] },
  },
  {
    name: 'network.raw',
    title: 'Raw and packet sockets: ping, packet capture, forged packets within the pod’s network',
    risk: 'medium',
    grants: { capabilities: ['NET_RAW'] },
    tests: { allows: ['CAP_NET_RAW', 'socket(AF_PACKET)'], denies: ['CAP_NET_ADMIN'] },
  },
  {
    name: 'network.low-ports',
    title: 'Listens on ports below 1024',
    risk: 'low',
    grants: { capabilities: ['NET_BIND_SERVICE'] },
    tests: { allows: ['CAP_NET_BIND_SERVICE'], denies: ['CAP_NET_ADMIN'] },
  },
  {
    name: 'network.egress',
    title: 'Connects and sends to these peers; with one such entitlement or rule, to no others',
    risk: 'low',
    grants: {},
    argument: {
      form: 'ADDRESSES[:PORTS/PROTOCOL], an IPv6 block in brackets, * for any address',
      example: '10.0.0.0/8:5432/tcp',
      read: (text) => peerRule(text, (egress) => ({ egress })),
    },
    tests: {
      allows: ['egress 10.1.2.3 5432/tcp'],
      denies: ['egress 10.1.2.3 5433/tcp', 'egress 11.0.0.1 5432/tcp', 'egress 2001:db8::1 5432/tcp'],
    },
  },
  {
    name: 'network.ingress',
    title: 'Is reached by these peers; with one such entitlement or rule, by no others',
    risk: 'low',
    grants: {},
    argument: {
      form: 'ADDRESSES[:PORTS/PROTOCOL], an IPv6 block in brackets, * for any address',
      example: '*:8080/tcp',
      read: (text) => peerRule(text, (ingress) => ({ ingress })),
    },
    tests: {
      allows: ['ingress 192.0.2.1 8080/tcp', 'ingress 2001:db8::1 8080/tcp'],
      denies: ['ingress 192.0.2.1 8081/tcp'],
    },
  },
];

/** `10.0.0.0/8:5432/tcp`, `[2001:db8::/32]:443/tcp`, `*:53/udp`, `192.0.2.7`. */
function peerRule(
  text: string,
  rules: (of: ReturnType<typeof networkRules>) => NonNullable<Effects['rules']>,
): Effects | { problem: string } {
  const [whole, six, four, written] = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(.+))?$/.exec(text) ?? [];
  if (whole === undefined)
    return {
      problem: 'write ADDRESSES:PORTS/PROTOCOL, as in 10.0.0.0/8:5432/tcp or [2001:db8::/32]:443/tcp',
    };
  if (six === undefined && text.split(':').length > 3)
    return { problem: 'an IPv6 block needs brackets, as in [2001:db8::/32]:443/tcp' };
  const ports = written === undefined ? { value: undefined } : readPorts(written);
  const cidr = four === '*' ? { value: undefined } : readCidr(six ?? four);
  for (const part of [cidr, ports]) if ('problem' in part) return { problem: `${part.problem}; ${part.fix}` };
  if ('problem' in ports || 'problem' in cidr) return { problem: text };
  const made = networkRules(
    cidr.value === undefined ? EVERYWHERE : [cidr.value],
    ports.value === undefined ? EVERY_PORT : [ports.value],
  );
  return { grants: {}, rules: rules(made) };
}
