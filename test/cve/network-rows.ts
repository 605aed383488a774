import type { Row } from './row.ts';

const spdy = 'runtime/streaming/spdy/spdy.test.ts';
const versions = 'test/cve/versions.test.ts';
const node = 'the Node.js that runs and ships is not older than ${version} (${ids})';
const packages = "${name} is not older than ${versions.join(' or ')} (${ids})";
const entry = 'entitlements/compile/kernel-entry-points.test.ts';
const kernelProof =
  'the filter program refuses each, also with the system calls that ${runtime} itself needs (${architecture})';
const inContainer = '${runtime}: the filter refuses each';
const mayNot = '${entry.question}: no program can call it';
const securityfs = 'protects mounts, the kernel’s files and other containers by default';

const crackArmor = (id: string): Row => ({
  id,
  what: 'AppArmor ("CrackArmor"): an unprivileged writer of the policy files replaces profiles',
  held: [
    ['entitlements/apparmor/profile-text.test.ts', securityfs],
    [
      'test/e2e/kernel-folders.test.ts',
      'a volume is mounted on such a path only if it is harmless (${handler})',
    ],
    [entry, 'no user namespace can be created'],
  ],
});
const pageCache = (id: string, what: string): Row => ({
  id,
  what,
  held: [
    [entry, mayNot],
    [entry, kernelProof],
    [entry, inContainer],
  ],
});

/** Streams, HTTP, the kernel, networks and file systems. */
export const networkRows: readonly Row[] = [
  {
    id: 'CVE-2020-8554',
    what: 'Kubernetes: a user who may write a Service intercepts traffic to any address by externalIPs',
    held: [
      [
        'cni-plugins/services/kubernetes/translate.test.ts',
        'external addresses are served if the node allows them; an address that cannot be served does not affect the others',
      ],
    ],
  },
  {
    id: 'CVE-2026-35469',
    what: 'spdystream: counts and lengths of SETTINGS and header blocks allocate before they are checked',
    held: [
      [spdy, 'false counts and lengths in a frame do not cost memory (CVE-2026-35469)'],
      [spdy, 'a decompression bomb is refused'],
      [spdy, 'of another version, or too large, end the connection'],
    ],
  },
  {
    id: 'CVE-2026-48068',
    what: 'grpc-js: a malformed stream start ends the server',
    held: [[versions, packages]],
  },
  {
    id: 'CVE-2026-48069',
    what: 'grpc-js: a malformed compressed message ends the server',
    held: [[versions, packages]],
  },
  { id: 'CVE-2026-41242', what: 'protobufjs: a hostile schema executes code', held: [[versions, packages]] },
  { id: 'CVE-2026-48618', what: 'Node: a TLS wildcard covers more than one label', held: [[versions, node]] },
  { id: 'CVE-2026-48928', what: 'Node: TLS server names', held: [[versions, node]] },
  { id: 'CVE-2026-48930', what: 'Node: TLS server names', held: [[versions, node]] },
  { id: 'CVE-2026-48934', what: 'Node: TLS server names', held: [[versions, node]] },
  { id: 'CVE-2026-48619', what: 'Node: HTTP/2 ORIGIN frames', held: [[versions, node]] },
  { id: 'CVE-2026-21637', what: 'Node: an error in SNICallback ends the process', held: [[versions, node]] },
  { id: 'CVE-2026-21710', what: 'Node: headersDistinct throws on a hostile name', held: [[versions, node]] },
  { id: 'CVE-2026-21714', what: 'Node, March 2026', held: [[versions, node]] },
  { id: 'CVE-2026-21717', what: 'Node, March 2026', held: [[versions, node]] },
  pageCache('CVE-2026-31431', 'Linux: the page cache is written through AF_ALG'),
  pageCache('CVE-2026-43284', 'Linux: the page cache is written through xfrm ESP'),
  pageCache('CVE-2026-46300', 'Linux: the page cache is written through xfrm ESP'),
  pageCache('CVE-2026-43500', 'Linux: the page cache is written through RxRPC'),
  pageCache('CVE-2026-31635', 'Linux: the page cache is written through RxRPC'),
  {
    id: 'CVE-2022-0185',
    what: 'Linux: fsconfig overflows, within reach of a user namespace',
    held: [
      [entry, 'no user namespace can be created'],
      [
        'entitlements/compile/live-kernel.test.ts',
        '${runtime}: the default filter forbids namespaces and mounts, and returns ENOSYS for unknown system calls',
      ],
    ],
  },
  ...['23268', '23269', '23403', '23404', '23405', '23406', '23407', '23408', '23409', '23410', '23411'].map(
    (number) => crackArmor(`CVE-2026-${number}`),
  ),
  {
    id: 'canonical/k8s-snap#2747',
    what: 'AppArmor 5 labels executed processes `profile//&unconfined`, which cannot be signalled',
    held: [
      [
        'test/e2e/apparmor.test.ts',
        'a container without an AppArmor setting runs under the default profile, and so do commands executed in it (${handler})',
      ],
    ],
  },
  {
    id: 'security-profiles-operator#3364',
    what: 'apparmor_parser 4 writes a compressed cache that the kernel refuses',
    absent: 'profiles are loaded by the parser itself; no cache file is written or loaded',
  },
  {
    id: 'CVE-2025-67499',
    what: 'CNI portmap: the nftables backend intercepts traffic of the port to every destination',
    held: [
      [
        'cni-plugins/engine/engine.test.ts',
        'traffic to another network is masqueraded, also if the destination port is a host port here',
      ],
      [
        'cni-plugins/engine/plugin-traffic.test.ts',
        'traffic to another network is masqueraded, in both families',
      ],
    ],
  },
  {
    id: 'containernetworking/plugins#1235',
    what: 'CNI portmap: masquerading hides the client address',
    held: [
      [
        'cni-plugins/engine/plugin-traffic.test.ts',
        'a pod behind a host port sees the address of the client, with masqAll that of the host, and without snat always that of the client',
      ],
    ],
  },
  {
    id: 'CVE-2020-8558',
    what: 'kube-proxy: services on 127.0.0.1 of the host are reached from its network',
    held: [
      [
        'cni-plugins/engine/engine.test.ts',
        'a pod with all capabilities cannot send as another, reach the host loopback, or speak anything but IP and ARP',
      ],
    ],
  },
  {
    id: 'CVE-2020-10749',
    what: 'CNI bridge and ptp: a pod becomes the router of its host by router advertisements',
    held: [
      [
        'cni-plugins/plugin-engine/router-advertisements.test.ts',
        'the host takes no router and no address that a pod advertises: ${conf.type}',
      ],
    ],
  },
  {
    id: 'CVE-2026-32241',
    what: 'flannel: an annotation of a node becomes a shell command',
    held: [
      [
        'cni-plugins/overlay/hostile-records.test.ts',
        'do not reach the kernel or a program as text: ${what}',
      ],
    ],
  },
  {
    id: 'CVE-2025-54388',
    what: 'moby: a reload of firewalld opens published ports',
    held: [
      ['cni-plugins/engine/engine.test.ts', 'rules that another program removed are recreated'],
      [
        'cni-plugins/policy/other-ports.test.ts',
        'rules that another program flushes are restored without a request',
      ],
    ],
  },
  {
    id: 'CVE-2025-54410',
    what: 'moby: a reload of firewalld ends the isolation of networks',
    held: [
      [
        'cni-plugins/policy/peers.test.ts',
        'rules that another program removes from existing tables are restored',
      ],
      [
        'cni-plugins/policy/routed-links.test.ts',
        'restrictions survive a restart, flushed rules and a lost link; a link is closed before DEL of its plugins',
      ],
    ],
  },
  {
    id: 'CVE-2026-23224',
    what: 'Linux: EROFS mounted from a file',
    absent: 'no image is mounted as EROFS: layers are folders under overlayfs',
  },
  {
    id: 'CVE-2026-46329',
    what: 'Linux: EROFS mounted from a file',
    absent: 'no image is mounted as EROFS: layers are folders under overlayfs',
  },
];
