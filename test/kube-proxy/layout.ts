/**
 * The addresses of the compared nodes, which are the same on each. A node is a network namespace that routes
 * between pods of its own, a host outside, and pods of other nodes.
 */

export const nodeName = 'here';
export const zone = 'east';
/** The node's own addresses: at the link to the outside, and towards its pods. */
export const nodeAddresses = { 4: '192.0.2.1', 6: 'fd00:192::1' } as const;
export const gatewayAddresses = { 4: '10.244.1.1', 6: 'fd00:244:1::1' } as const;
/** Addresses of pods of this node. */
export const podRanges = ['10.244.0.0/17', 'fd00:244:0::/33'] as const;
export const serviceRanges = ['10.96.0.0/16', 'fd00:10:96::/112'] as const;

/** A host with a link to the node. */
export interface End {
  readonly name: string;
  readonly addresses: readonly [four: string, six: string];
  /** Prefixes that are routed to it. All their addresses are its own. */
  readonly prefixes?: readonly [four: string, six: string];
  readonly serves: boolean;
}

const own = (number: number): readonly [string, string] => [
  `10.244.1.${number}`,
  `fd00:244:1::${number.toString(16)}`,
];

export const ends: readonly End[] = [
  {
    name: 'out',
    addresses: ['192.0.2.2', 'fd00:192::2'],
    prefixes: ['192.88.0.0/16', 'fd00:88::/32'],
    serves: false,
  },
  { name: 'pod', addresses: own(10), prefixes: ['10.244.64.0/18', 'fd00:244:4000::/34'], serves: false },
  { name: 'one', addresses: own(101), serves: true },
  { name: 'two', addresses: own(102), serves: true },
  {
    name: 'far',
    addresses: ['10.244.200.1', 'fd00:244:c800::1'],
    prefixes: ['10.244.128.0/17', 'fd00:244:8000::/33'],
    serves: true,
  },
];

/** An address that endpoints have, and where it is. */
export interface Place {
  readonly addresses: readonly [four: string, six: string];
  readonly node: string;
  readonly zone: string;
}

export const places: readonly Place[] = [
  { addresses: own(101), node: nodeName, zone },
  { addresses: own(102), node: nodeName, zone },
  // A pod in the network namespace of the node.
  { addresses: [nodeAddresses[4], nodeAddresses[6]], node: nodeName, zone },
  { addresses: ['10.244.200.1', 'fd00:244:c800::1'], node: 'there', zone },
  { addresses: ['10.244.200.2', 'fd00:244:c800::2'], node: 'there', zone: 'west' },
  { addresses: ['10.244.201.1', 'fd00:244:c900::1'], node: 'yonder', zone: 'west' },
];

/** The ports at which every endpoint serves TCP and UDP. */
export const servedPorts = [8080, 8081, 9090] as const;
/** The ports of the endpoint that shows which change is in force. */
export const markPorts = [7000, 7001] as const;

/** Who connects. */
export interface Client {
  readonly name: string;
  readonly end: string;
  /** The prefixes of its source addresses, and how many bits a client may choose. Absent: its own address. */
  readonly sources?: readonly [four: readonly [string, number], six: readonly [string, number]];
}

export const clients: readonly Client[] = [
  { name: 'host', end: 'host' },
  {
    name: 'pod',
    end: 'pod',
    sources: [
      ['10.244.64.0', 14],
      ['fd00:244:4000::', 16],
    ],
  },
  { name: 'endpoint', end: 'one' },
  {
    name: 'pod of another node',
    end: 'far',
    sources: [
      ['10.244.192.0', 14],
      ['fd00:244:c000::', 16],
    ],
  },
  {
    name: 'outside',
    end: 'out',
    sources: [
      ['192.88.0.0', 15],
      ['fd00:88::', 16],
    ],
  },
  {
    name: 'outside, out of range',
    end: 'out',
    sources: [
      ['192.88.128.0', 15],
      ['fd00:88:8000::', 16],
    ],
  },
];
/** The source ranges of load balancers that have any. They contain the client `outside`. */
export const sourceRanges = ['192.88.0.0/17', 'fd00:88::/33'] as const;

/** Returns the address at an offset in a prefix. */
export function addressAt([prefix, bits]: readonly [string, number], random: number): string {
  const offset = 1 + Math.floor(random * (2 ** bits - 2));
  if (prefix.includes(':')) return `${prefix}${offset.toString(16)}`;
  const [a = 0, b = 0, c = 0] = prefix.split('.').map(Number);
  return `${a}.${b}.${c + (offset >> 8)}.${offset & 255}`;
}
