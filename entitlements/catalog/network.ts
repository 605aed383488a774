import type { Entitlement } from './entitlement.ts';

/** AF_UNIX (linux/socket.h). */
const AF_UNIX = 1n;
/** SOL_SOCKET and SO_DEBUG (asm-generic/socket.h). */
const SOL_SOCKET = 1n;
const SO_DEBUG = 1n;

export const NETWORK_ENTITLEMENTS: readonly Entitlement[] = [
  {
    name: 'network.none',
    title: 'No network: local sockets only',
    risk: 'low',
    network: 'none',
    grants: {},
    excludes: {
      capabilities: ['NET_ADMIN', 'NET_BIND_SERVICE', 'NET_BROADCAST', 'NET_RAW'],
      // libentitlement blocks bind, connect and the rest as well, and with them the AF_UNIX sockets it means to allow.
      syscalls: [
        { call: 'socket', unless: [{ argument: 0, equals: AF_UNIX }] },
        { call: 'socketpair', unless: [{ argument: 0, equals: AF_UNIX }] },
        { call: 'sethostname' },
        { call: 'setdomainname' },
      ],
      hostNamespaces: ['network'],
      maskedPaths: ['/proc/sys/net', '/sys/class/net'],
    },
  },
  {
    name: 'network.user',
    title: 'Ordinary network use: connect, and listen on ports that need no privilege',
    risk: 'low',
    network: 'user',
    grants: {},
    excludes: { capabilities: ['NET_ADMIN', 'NET_BIND_SERVICE', 'NET_BROADCAST', 'NET_RAW'], hostNamespaces: ['network'] },
  },
  {
    name: 'network.proxy',
    title: 'A network service: low ports, raw sockets and broadcast, no configuration of the network',
    risk: 'medium',
    network: 'proxy',
    grants: { capabilities: ['NET_BIND_SERVICE', 'NET_BROADCAST', 'NET_RAW'] },
    excludes: {
      capabilities: ['NET_ADMIN'],
      // The option has this number at this level only: elsewhere 1 is TCP_NODELAY and others.
      syscalls: [
        {
          call: 'setsockopt',
          when: [
            { argument: 1, equals: SOL_SOCKET },
            { argument: 2, equals: SO_DEBUG },
          ],
        },
      ],
      hostNamespaces: ['network'],
    },
  },
  {
    name: 'network.admin',
    title: "Configures the pod's own network: addresses, routes, firewall",
    risk: 'high',
    network: 'admin',
    grants: { capabilities: ['NET_ADMIN', 'NET_BIND_SERVICE', 'NET_BROADCAST', 'NET_RAW'] },
    excludes: { hostNamespaces: ['network'] },
  },
  {
    name: 'network.host',
    title: "Shares the host's network",
    risk: 'critical',
    network: 'host',
    grants: { hostNamespaces: ['network'] },
    excludes: {},
  },
];
