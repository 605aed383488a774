import { attribute, be32, nested, text, u32, u8 } from '../protocol/wire.ts';
import { verdictData } from './nftables.ts';
import type { Verdict } from './nftables.ts';

/**
 * The expressions of nf_tables rules. Source: linux/netfilter/nf_tables.h.
 * Registers are 32 bits wide: `register(0)` is the first. A value of n bytes takes n/4 consecutive registers,
 * rounded up.
 */

const NFT_REG32_00 = 8;
/** Returns the kernel's number of a register of four bytes. */
export const register = (index: number): number => NFT_REG32_00 + index;

/** One expression of a rule, by the kernel's name. */
export function expression(name: string, ...attributes: readonly Uint8Array[]): Buffer {
  return nested(1, attribute(1, text(name)), nested(2, ...attributes));
}

const metaKeys = {
  length: 0,
  priority: 2,
  mark: 3,
  iif: 4,
  oif: 5,
  iifname: 6,
  oifname: 7,
  nfproto: 15,
  l4proto: 16,
  pkttype: 19,
  iifgroup: 21,
  oifgroup: 22,
} as const;

/** Loads a property of the packet, such as its link, into a register. */
export function meta(key: keyof typeof metaKeys, to: number): Buffer {
  return expression('meta', attribute(1, be32(to)), attribute(2, be32(metaKeys[key])));
}

/** Writes the register's value into the packet's metadata. */
export function setMeta(key: 'mark' | 'pkttype' | 'priority', from: number): Buffer {
  return expression('meta', attribute(2, be32(metaKeys[key])), attribute(3, be32(from)));
}

/** Loads a constant into a register. */
export function constant(value: Uint8Array, to: number): Buffer {
  return expression('immediate', attribute(1, be32(to)), nested(2, attribute(1, value)));
}

const payloadBases = { link: 0, network: 1, transport: 2 } as const;

/** Loads bytes of the packet, at an offset from a header. */
export function payload(base: keyof typeof payloadBases, offset: number, length: number, to: number): Buffer {
  return expression(
    'payload',
    attribute(1, be32(to)),
    attribute(2, be32(payloadBases[base])),
    attribute(3, be32(offset)),
    attribute(4, be32(length)),
  );
}

const IPPROTO_FRAGMENT = 44;

/**
 * Loads offset (13 bits) and flags of the IPv6 fragment header (RFC 8200, section 4.5). The rule ends if
 * there is no such header.
 */
export function fragmentOffset(to: number): Buffer {
  return expression(
    'exthdr',
    attribute(1, be32(to)),
    attribute(2, u8(IPPROTO_FRAGMENT)),
    attribute(3, be32(2)),
    attribute(4, be32(2)),
  );
}

/** Writes the destination of a frame: six bytes of its own header, which has no checksum. */
export function setFrameDestination(from: number): Buffer {
  return expression(
    'payload',
    attribute(2, be32(payloadBases.link)),
    attribute(3, be32(0)),
    attribute(4, be32(6)),
    attribute(5, be32(from)),
  );
}

/** Continues with the rule only if a register has this value. */
export function equals(from: number, value: Uint8Array): Buffer {
  return expression('cmp', attribute(1, be32(from)), attribute(2, be32(0)), nested(3, attribute(1, value)));
}

/** Continues with the rule only if a register has another value. */
export function differs(from: number, value: Uint8Array): Buffer {
  return expression('cmp', attribute(1, be32(from)), attribute(2, be32(1)), nested(3, attribute(1, value)));
}

/** Matches a range with both ends included. The bytes are in network order. */
export function within(from: number, low: Uint8Array, high: Uint8Array): readonly Buffer[] {
  return [
    expression(
      'cmp',
      attribute(1, be32(from)),
      attribute(2, be32(NFT_CMP_GTE)),
      nested(3, attribute(1, low)),
    ),
    expression(
      'cmp',
      attribute(1, be32(from)),
      attribute(2, be32(NFT_CMP_LTE)),
      nested(3, attribute(1, high)),
    ),
  ];
}

const NFT_CMP_LTE = 3;
const NFT_CMP_GTE = 5;

/** Keeps only the bits of `mask`, and flips the bits of `flipped`. */
export function masked(
  from: number,
  mask: Uint8Array,
  to = from,
  flipped: Uint8Array = new Uint8Array(mask.length),
): Buffer {
  return expression(
    'bitwise',
    attribute(1, be32(from)),
    attribute(2, be32(to)),
    attribute(3, be32(mask.length)),
    nested(4, attribute(1, mask)),
    nested(5, attribute(1, flipped)),
  );
}

/** The rule goes on only if the key is in the set. */
export function inSet(set: string, from: number): Buffer {
  return expression('lookup', attribute(1, text(set)), attribute(2, be32(from)));
}

const NFT_LOOKUP_F_INV = 1;

/** Continues with the rule only if a set does not hold the key in a register. */
export function notInSet(set: string, from: number): Buffer {
  return expression(
    'lookup',
    attribute(1, text(set)),
    attribute(2, be32(from)),
    attribute(5, be32(NFT_LOOKUP_F_INV)),
  );
}

/** Loads the map's value for the key. The rule ends if there is none. */
export function mapped(map: string, from: number, to: number): Buffer {
  return expression('lookup', attribute(1, text(map)), attribute(2, be32(from)), attribute(3, be32(to)));
}

const NFT_REG_VERDICT = 0;

/** Applies the map's verdict for the key. If there is none, the next rule follows. */
export function verdictOf(map: string, from: number): Buffer {
  return mapped(map, from, NFT_REG_VERDICT);
}

/** Ends the rule with a verdict. */
export function verdict(value: Verdict): Buffer {
  return expression('immediate', attribute(1, be32(NFT_REG_VERDICT)), nested(2, verdictData(value)));
}

const NFT_FIB_RESULT_ADDRTYPE = 3;
const NFTA_FIB_F_DADDR = 2;
const RTN_LOCAL = 2;

/** Matches if the destination is an address of this host. */
export function destinationIsLocal(scratch: number): readonly Buffer[] {
  const local = Buffer.alloc(4);
  local.writeUInt32LE(RTN_LOCAL);
  return [
    expression(
      'fib',
      attribute(1, be32(scratch)),
      attribute(2, be32(NFT_FIB_RESULT_ADDRTYPE)),
      attribute(3, be32(NFTA_FIB_F_DADDR)),
    ),
    equals(scratch, local),
  ];
}

const NFTA_FIB_F_SADDR = 1;

const sourceType = (scratch: number): Buffer =>
  expression(
    'fib',
    attribute(1, be32(scratch)),
    attribute(2, be32(NFT_FIB_RESULT_ADDRTYPE)),
    attribute(3, be32(NFTA_FIB_F_SADDR)),
  );

/** Matches if the source is an address of this host. */
export const sourceIsLocal = (scratch: number): readonly Buffer[] => [
  sourceType(scratch),
  equals(scratch, u32(RTN_LOCAL)),
];

/** Matches if the source is not an address of this host. */
export const sourceIsForeign = (scratch: number): readonly Buffer[] => [
  sourceType(scratch),
  differs(scratch, u32(RTN_LOCAL)),
];

const connectionKeys = {
  state: 0,
  direction: 1,
  protocol: 10,
  portFrom: 11,
  portTo: 12,
  from4: 19,
  to4: 20,
  from6: 21,
  to6: 22,
} as const;

/**
 * Loads a property of the packet's connection. The rule ends if there is no connection (`state` is always
 * known), or if it is of the other family.
 */
export function connection(
  key: keyof typeof connectionKeys,
  direction: 'original' | 'reply' | undefined,
  to: number,
): Buffer {
  return expression(
    'ct',
    attribute(1, be32(to)),
    attribute(2, be32(connectionKeys[key])),
    ...(direction === undefined ? [] : [attribute(3, u8(direction === 'original' ? 0 : 1))]),
  );
}

const NFT_CT_STATUS = 2;
const NFT_CT_PROTO_DST = 12;
const IPS_DST_NAT = 1 << 5;

/**
 * Loads the status bit of the connection that says that its destination was translated. The rule ends for a
 * packet without a connection.
 */
function translatedBit(scratch: number): readonly Buffer[] {
  const bit = Buffer.alloc(4);
  bit.writeUInt32LE(IPS_DST_NAT);
  return [
    expression('ct', attribute(1, be32(scratch)), attribute(2, be32(NFT_CT_STATUS))),
    masked(scratch, bit),
  ];
}

/** Matches if the destination of the connection was translated. */
export const destinationTranslated = (scratch: number): readonly Buffer[] => [
  ...translatedBit(scratch),
  differs(scratch, Buffer.alloc(4)),
];

/** Matches if the destination was not translated, or not yet. */
export const destinationAsSent = (scratch: number): readonly Buffer[] => [
  ...translatedBit(scratch),
  equals(scratch, Buffer.alloc(4)),
];

/** Loads the port to which the connection was first sent. */
export function originalPort(to: number): Buffer {
  return expression('ct', attribute(1, be32(to)), attribute(2, be32(NFT_CT_PROTO_DST)), attribute(3, u8(0)));
}

const NFT_NAT_DNAT = 1;

/** Translates the destination to the address and the port in two registers. */
export function translateDestination(family: 'ip' | 'ip6', address: number, port: number): Buffer {
  return expression(
    'nat',
    attribute(1, be32(NFT_NAT_DNAT)),
    attribute(2, be32(family === 'ip' ? 2 : 10)),
    attribute(3, be32(address)),
    attribute(5, be32(port)),
  );
}

/** Translates the source to the address of the outgoing link. */
export function masquerade(): Buffer {
  return expression('masq');
}

/** Counts packets and bytes. */
export function counter(): Buffer {
  return expression('counter');
}
